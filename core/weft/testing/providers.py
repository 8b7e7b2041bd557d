"""Checks that every provider that is asked over HTTP must pass, whoever wrote it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx

from weft.components.provider import Provider
from weft.foundation.errors import WeftError
from weft.testing import provider_checks, provider_faults
from weft.testing.conformance import CheckResult, ConformanceReport
from weft.testing.extra import expect_pytest
from weft.testing.provider_case import ProviderCase, StandIn

if TYPE_CHECKING:
    import pytest

Check = Callable[[ProviderCase], None]

PROVIDER_CHECKS: Final[dict[str, Check]] = {
    check.__name__: check
    for check in (
        provider_checks.batches_keep_to_schema,
        provider_checks.metrics_are_declared,
        provider_checks.known_after_true,
        provider_checks.candles_are_closed,
        provider_checks.facts_come_once,
        provider_checks.is_as_expected,
        provider_checks.pages_join,
        provider_checks.unknown_is_named,
        provider_checks.known_is_not_asked_again,
        provider_checks.any_order_of_answers,
        provider_checks.cancelled_cleanly,
        provider_checks.steps_equal_backfill,
        provider_checks.restated_history,
        provider_faults.refusals_are_typed,
        provider_faults.passing_trouble_passes,
        provider_faults.what_is_no_data_is_typed,
        provider_faults.other_forms_are_typed,
        provider_faults.empty_answers_are_fine,
        provider_faults.every_field_counts,
        provider_faults.key_stays_secret,
    )
}
"""Every check of providers by name, in the order they run."""


def check_provider(
    provider: Provider,
    api: StandIn | str | httpx.AsyncBaseTransport,
    *,
    now: int | None = None,
    expected_failures: Mapping[str, str] | None = None,
    **case: Any,  # noqa: ANN401  # as ProviderCase has them
) -> ConformanceReport:
    """Check a provider against its contract, with something that stands for its API.

    Answers are spoilt on the way, so that any server that answers soundly will do. Checks that
    need more of the provider or of the server than there is are left out: pages, a server that
    restates, expected rows.

    Args:
        provider: with its options; other instances are made of its class.
        api: base address of a server, a transport such as ``httpx.MockTransport``, or a `StandIn`
            with more abilities.
        now: what time it is there, microseconds since 1970, unless `api` is a `StandIn`.
        expected_failures: names of checks it is known to fail, and why that is right.
        case: what to ask; see `ProviderCase`.
    """
    if not isinstance(api, StandIn):
        if now is None:
            raise TypeError("check_provider needs `now`: what time it is at the server")
        api = StandIn(api=api, now=now)
    subject = ProviderCase(provider=provider, stand_in=api, **case)
    results = tuple(_results(subject, expected_failures or {}))
    return ConformanceReport(f"provider {provider.name}", results)


def parametrize_provider_checks(
    cases: Sequence[ProviderCase],
    expected_failures: Mapping[str, Mapping[str, str]] | None = None,
) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each provider and check.

    The test takes one argument, ``check``, and calls it.

    Args:
        cases: the providers, and what stands for their APIs.
        expected_failures: by provider's name, checks it is known to fail, and why that is right.
    """
    expect_pytest()
    import pytest  # noqa: PLC0415  # the kit works without pytest

    excused = expected_failures or {}
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                partial(check, case),
                id=f"{case.provider.name}-{name}",
                marks=[pytest.mark.xfail(reason=excused[case.provider.name][name], strict=True)]
                if name in excused.get(case.provider.name, {})
                else [],
            )
            for case in cases
            for name, check in provider_checks_of(case).items()
        ],
    )


def provider_checks_of(case: ProviderCase) -> dict[str, Check]:
    """Return the checks that a provider and its stand-in have what it takes for."""
    options = type(case.provider.config).model_fields
    lacking = {
        "pages_join": case.pages is None and "page_size" not in options,
        "unknown_is_named": not (
            {"symbols", "assets"} & set(options) if case.unknown is None else case.unknown
        ),
        "is_as_expected": case.expected is None,
        "restated_history": case.stand_in.restate is None,
        "key_stays_secret": case.provider.web is None or case.provider.web.key is None,
    }
    return {name: check for name, check in PROVIDER_CHECKS.items() if not lacking.get(name)}


def _results(case: ProviderCase, excused: Mapping[str, str]) -> Iterator[CheckResult]:
    for name, check in provider_checks_of(case).items():
        try:
            check(case)
        except (AssertionError, WeftError, ValueError, LookupError) as error:
            yield CheckResult(name, passed=False, message=str(error), excuse=excused.get(name))
        else:
            yield CheckResult(name, passed=True)

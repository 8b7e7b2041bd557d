"""Checks of providers that ask an API over HTTP."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx

from weft.components.provider import Provider
from weft.testing.providers import checks, faults
from weft.testing.providers.case import ProviderCase, StandIn
from weft.testing.report import ConformanceReport, parametrize, run_checks

if TYPE_CHECKING:
    import pytest

Check = Callable[[ProviderCase], None]

PROVIDER_CHECKS: Final[dict[str, Check]] = {
    check.__name__: check
    for check in (
        checks.batches_keep_to_schema,
        checks.metrics_are_declared,
        checks.known_after_true,
        checks.candles_are_closed,
        checks.facts_come_once,
        checks.is_as_expected,
        checks.pages_join,
        checks.unknown_is_named,
        checks.known_is_not_asked_again,
        checks.any_order_of_answers,
        checks.cancelled_cleanly,
        checks.steps_equal_backfill,
        checks.restated_history,
        faults.refusals_are_typed,
        faults.passing_trouble_passes,
        faults.what_is_no_data_is_typed,
        faults.other_forms_are_typed,
        faults.empty_answers_are_fine,
        faults.every_field_counts,
        faults.key_stays_secret,
    )
}
"""Every check of providers by name, in the order they run."""


def check_provider(
    provider: Provider,
    api: str | httpx.AsyncBaseTransport | StandIn,
    *,
    now: int | None = None,
    expected_failures: Mapping[str, str] | None = None,
    **case: Any,  # noqa: ANN401  # the fields of ProviderCase
) -> ConformanceReport:
    """Check a provider against its contract, with a stand-in for its API.

    The kit spoils answers on their way, so any server that answers correctly will do. Checks for
    which the provider or the stand-in lacks something are left out: pages, a server that restates
    its history, expected rows.

    Args:
        provider: with its options; the checks make further instances of its class.
        api: base address of a server, a transport such as ``httpx.MockTransport``, or a `StandIn`
            that can do more.
        now: the time at the server, microseconds since 1970; not needed where `api` is a
            `StandIn`.
        expected_failures: names of checks that fail, and why that is right.
        case: further fields of `ProviderCase`.

    Raises:
        TypeError: `now` is missing.
    """
    if not isinstance(api, StandIn):
        if now is None:
            raise TypeError("check_provider needs `now`: the time at the server")
        api = StandIn(api=api, now=now)
    subject = ProviderCase(provider=provider, stand_in=api, **case)
    return run_checks(provider.title(), provider_checks_of(subject), expected_failures)


def parametrize_provider_checks(
    cases: Sequence[ProviderCase],
    expected_failures: Mapping[str, Mapping[str, str]] | None = None,
) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each provider and check.

    The test takes one argument, ``check``, and calls it.

    Args:
        cases: the providers, and the stand-ins for their APIs.
        expected_failures: by the name of a provider, the checks that fail, and why that is right.
    """
    excuses = expected_failures or {}
    return parametrize(
        ((case.provider.name, provider_checks_of(case)) for case in cases),
        lambda name: excuses.get(name, {}),
    )


def provider_checks_of(case: ProviderCase) -> dict[str, Callable[[], None]]:
    """Return the checks that a provider and its stand-in have everything for."""
    options = type(case.provider.config).model_fields
    unknown = {"symbols", "assets"} & set(options) if case.unknown is None else case.unknown
    lacking = {
        "pages_join": case.pages is None and "page_size" not in options,
        "unknown_is_named": not unknown,
        "is_as_expected": case.expected is None,
        "restated_history": case.stand_in.restate is None,
        "key_stays_secret": case.provider.web is None or case.provider.web.key is None,
    }
    return {
        name: partial(check, case)
        for name, check in PROVIDER_CHECKS.items()
        if not lacking.get(name)
    }

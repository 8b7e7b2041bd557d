"""The conformance kit: checks that a component keeps to its contract, built-in or not.

In a test of your plugin::

    from weft.testing import parametrize_with_checks

    @parametrize_with_checks([Momentum()])
    def test_conformance(check):
        check()

or, without pytest, ``check_layer(Momentum()).raise_if_failed()``. Sinks, executors and hooks have
checks of their kind: `check_sink`, `check_executor`, `check_hook`.

A provider is checked with a stand-in for its API, a server or a transport::

    api = httpx.MockTransport(answer)
    check_provider(Tides(), api, now=NOW, days=10).raise_if_failed()

A recorded answer, or one from the documentation of a vendor, is parsed without any server::

    parse_recorded(Tides(), {"/v1/level": body}, now=NOW).of("tide_level", "BTC")
"""

from weft.testing.conformance import (
    check_component,
    check_feature,
    check_layer,
    check_trained,
    parametrize_with_checks,
)
from weft.testing.delivery import (
    EXECUTOR_CHECKS,
    SINK_CHECKS,
    check_executor,
    check_sink,
    parametrize_executor_checks,
    parametrize_sink_checks,
    sample_signals,
)
from weft.testing.history import History, random_history
from weft.testing.hooks import HOOK_CHECKS, check_hook, parametrize_hook_checks
from weft.testing.made_up import with_forecasts, with_news, with_regime
from weft.testing.portfolio_risks import (
    PORTFOLIO_RISK_CHECKS,
    check_portfolio_risk,
    parametrize_portfolio_risk_checks,
)
from weft.testing.providers import (
    PROVIDER_CHECKS,
    check_provider,
    parametrize_provider_checks,
)
from weft.testing.providers.case import ProviderCase, StandIn
from weft.testing.providers.recorded import Fact, ParsedRows, Recorded, parse_recorded
from weft.testing.report import CheckResult, ConformanceReport

__all__ = [
    "EXECUTOR_CHECKS",
    "HOOK_CHECKS",
    "PORTFOLIO_RISK_CHECKS",
    "PROVIDER_CHECKS",
    "SINK_CHECKS",
    "CheckResult",
    "ConformanceReport",
    "Fact",
    "History",
    "ParsedRows",
    "ProviderCase",
    "Recorded",
    "StandIn",
    "check_component",
    "check_executor",
    "check_feature",
    "check_hook",
    "check_layer",
    "check_portfolio_risk",
    "check_provider",
    "check_sink",
    "check_trained",
    "parametrize_executor_checks",
    "parametrize_hook_checks",
    "parametrize_portfolio_risk_checks",
    "parametrize_provider_checks",
    "parametrize_sink_checks",
    "parametrize_with_checks",
    "parse_recorded",
    "random_history",
    "sample_signals",
    "with_forecasts",
    "with_news",
    "with_regime",
]

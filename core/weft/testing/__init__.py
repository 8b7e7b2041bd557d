"""The conformance kit: proves that a component keeps to its contract, built-in or not.

In a test of your own plugin::

    from weft.testing import parametrize_with_checks

    @parametrize_with_checks([Momentum()])
    def test_conformance(check):
        check()

or, without pytest, ``check_layer(Momentum()).raise_if_failed()``.

A provider is checked against something that stands for its API, a server or a transport::

    api = httpx.MockTransport(answer)
    check_provider(Tides(), api, now=NOW, days=10).raise_if_failed()

A body that was recorded, or stands in a vendor's documentation, is read without any server::

    parse_recorded(Tides(), {"/v1/level": body}, now=NOW).of("tide_level", "BTC")
"""

from weft.testing.conformance import (
    CheckResult,
    ConformanceReport,
    check_component,
    check_feature,
    check_layer,
    check_trained,
    parametrize_with_checks,
)
from weft.testing.history import History, random_history
from weft.testing.made_up import with_forecasts, with_news, with_regime
from weft.testing.portfolio_risks import (
    PORTFOLIO_RISK_CHECKS,
    check_portfolio_risk,
    parametrize_portfolio_risk_checks,
)
from weft.testing.provider_case import ProviderCase, StandIn
from weft.testing.providers import (
    PROVIDER_CHECKS,
    check_provider,
    parametrize_provider_checks,
)
from weft.testing.recorded import Fact, ParsedRows, Recorded, parse_recorded
from weft.testing.sinks import SINK_CHECKS, check_sink, parametrize_sink_checks, sample_signals

__all__ = [
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
    "check_feature",
    "check_layer",
    "check_portfolio_risk",
    "check_provider",
    "check_sink",
    "check_trained",
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

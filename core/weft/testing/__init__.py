"""The conformance kit: proves that a component keeps to its contract, built-in or not.

In a test of your own plugin::

    from weft.testing import parametrize_with_checks

    @parametrize_with_checks([Momentum()])
    def test_conformance(check):
        check()

or, without pytest, ``check_layer(Momentum()).raise_if_failed()``.
"""

from weft.testing.conformance import (
    CheckResult,
    ConformanceReport,
    check_feature,
    check_layer,
    parametrize_with_checks,
)
from weft.testing.history import History, random_history

__all__ = [
    "CheckResult",
    "ConformanceReport",
    "History",
    "check_feature",
    "check_layer",
    "parametrize_with_checks",
    "random_history",
]

"""Names, units and tables for the figures in a signal's `risk` and `sizing`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

Figures = Mapping[str, float | str | None]


def percent(value: float) -> str:
    """Return a fraction in percent, with two decimals."""
    return f"{100.0 * _zero_if_tiny(value, 5e-5):.2f} %"


def number(value: float) -> str:
    """Return a number with four significant digits; one below 1e-6 is shown as 0."""
    return f"{_zero_if_tiny(value, 1e-6):.4g}"


def _yes_or_no(value: float) -> str:
    return "yes" if value else "no"


def _times(value: float) -> str:
    return f"x {value:.2f}"


def _per_candle(value: float) -> str:
    return f"{percent(value)} a candle"


def _zero_if_tiny(value: float, limit: float) -> float:
    # Also turns -0.0 into 0.0.
    return value if abs(value) >= limit else 0.0


@dataclass(frozen=True, slots=True)
class Wording:
    """How one figure is printed.

    Attributes:
        label: its name in words.
        text: formats its value with the unit.
    """

    label: str
    text: Callable[[float], str] = number


RISK: Mapping[str, Wording] = {
    "var_95": Wording("VaR 95", percent),
    "var_99": Wording("VaR 99", percent),
    "cvar_95": Wording("CVaR 95", percent),
    "cvar_99": Wording("CVaR 99", percent),
    "drawdown_median": Wording("drawdown, median", percent),
    "drawdown_95": Wording("drawdown, 95 %", percent),
    "stress_2x_var_99": Wording("VaR 99, volatility x 2", percent),
    "stress_3x_var_99": Wording("VaR 99, volatility x 3", percent),
    "stress_5x_var_99": Wording("VaR 99, volatility x 5", percent),
    "stop_first": Wording("probability: stop reached first", percent),
    "target_first": Wording("probability: target reached first", percent),
    "neither": Wording("probability: neither is reached", percent),
    "widened": Wording("distance of stop and target, multiplied by", _times),
    "volatility": Wording("volatility", _per_candle),
    "volatility_uncertainty": Wording("uncertainty of the log volatility"),
    "wicks_above": Wording("highs beyond the closes (1: Brownian motion)"),
    "wicks_below": Wording("lows beyond the closes (1: Brownian motion)"),
    "jump_intensity": Wording("jumps expected", lambda value: f"{number(value)} a candle"),
    "jump_mean": Wording("mean jump (log return)", percent),
    "jump_deviation": Wording("deviation of jumps (log return)", percent),
}
"""Figures of the built-in risks. Losses are fractions of the position's value."""

SIZING: Mapping[str, Wording] = {
    "trained": Wording("sizer is trained", _yes_or_no),
    "policy_is_constant": Wording("policy takes the same share everywhere", _yes_or_no),
    "trust": Wording("trust in the sizer, 0 to 1", number),
    "share": Wording("share of the full size", percent),
    "full_size": Wording("full size", percent),
    "untrained": Wording("size without the trained policy", percent),
    "constant": Wording("constant size", percent),
    "volatility_target": Wording("size by target volatility", percent),
    "fractional_kelly": Wording("size by fractional Kelly", percent),
    "same_asset_share": Wording("share left beside signals of the same asset", percent),
    "unlimited": Wording("size before the gross limit", percent),
    "advantage": Wording("action value above that of no position"),
}
"""Figures of the built-in sizers and limits. Sizes are fractions of the equity."""

_PLAIN = "gbm_"
"""Prefix of the losses without jumps."""


def risk_table(figures: Figures) -> Table | None:
    """Return the risk figures of a signal as a table; None where there are none."""
    plain = {n.removeprefix(_PLAIN): v for n, v in figures.items() if n.startswith(_PLAIN)}
    known = {n: v for n, v in figures.items() if not n.startswith(_PLAIN)}
    horizon = figures.get("horizon")
    within = f" within {horizon}" if horizon else ""
    title = f"Risk: losses{within} are fractions of the position's value"
    return _table(title, known, RISK, plain)


def sizing_table(figures: Figures) -> Table | None:
    """Return the sizing figures of a signal as a table; None where there are none."""
    return _table("Size: fractions of the equity", figures, SIZING)


def wording_of(name: str, wordings: Mapping[str, Wording]) -> Wording:
    """Return how a figure is printed; a plugin's figure by its name, without a unit."""
    if name in wordings:
        return wordings[name]
    if name.startswith("shock_"):
        event = name.removeprefix("shock_").replace("_", " ")
        return Wording(f"loss in the fall of {event}", percent)
    if name.startswith("value_"):
        share = name.removeprefix("value_")
        return Wording(f"action value of {share} % of the full size")
    return Wording(name.replace("_", " "))


def _table(
    title: str,
    figures: Figures,
    wordings: Mapping[str, Wording],
    plain: Figures = MappingProxyType({}),
) -> Table | None:
    rows = {name: value for name, value in figures.items() if isinstance(value, float)}
    if not rows:
        return None
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("figure")
    table.add_column("value", justify="right", no_wrap=True)
    if plain:
        table.add_column("without jumps", justify="right", no_wrap=True)
    for name, value in rows.items():
        wording, beside = wording_of(name, wordings), plain.get(name)
        cells = [escape(wording.label), wording.text(value)]
        table.add_row(*cells, *([wording.text(beside)] if isinstance(beside, float) else []))
    return table

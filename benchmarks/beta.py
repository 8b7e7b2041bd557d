"""Rolling beta and residual of 1,000 coins, against pandas and statsmodels."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from statsmodels.regression.rolling import (  # type: ignore[import-untyped]  # the package has no types
    RollingOLS,
)

from weft.domain.instruments import describe
from weft.foundation.arrays import FloatPanel
from weft.foundation.times import Interval
from weft.testing import History
from weft_plugins.features.regression import fit
from weft_plugins.layers.correlation import Correlation

COINS = 1_000
DAYS = 1_000
WINDOW = 30
ROUNDS = 50
PEER_ROUNDS = 5
STATSMODELS_COINS = 20
TOLERANCE = 1e-12

Lines = tuple[FloatPanel, FloatPanel]


def main() -> None:
    """Measure and print."""
    console = Console(highlight=False)
    x, y = _returns()
    ours = partial(_weft, x, y)
    beta, residual = ours()
    frame, series = pd.DataFrame(y), pd.Series(x[:, 0])
    some = y[:, :STATSMODELS_COINS]
    differences = {
        "pandas": _difference((beta, residual), _pandas(series, frame)),
        "statsmodels": _difference(
            (beta[:, :STATSMODELS_COINS], residual[:, :STATSMODELS_COINS]), _statsmodels(x, some)
        ),
    }
    for peer, difference in differences.items():
        if difference > TOLERANCE:
            raise SystemExit(f"{peer} differs by {difference:.1e}")
    spent, cov, full = list[float](), list[float](), list[float]()
    for _ in range(PEER_ROUNDS):
        # In turns, so that all run under the same load.
        spent += [_timed(ours) for _ in range(ROUNDS // PEER_ROUNDS)]
        cov.append(_timed(partial(_pandas_cov, series, frame)))
        full.append(_timed(partial(_pandas, series, frame)))
    slow = _timed(partial(_statsmodels, x, some)) * COINS / STATSMODELS_COINS
    # The quickest run of each: other programs on the machine only add time.
    weft = min(spent)
    table = Table("", "ms", "over Weft")
    table.title = f"{WINDOW}-day beta and residual, {COINS:,} coins x {DAYS:,} days"
    table.add_row("Weft, one thread", f"{weft * 1e3:,.1f}", "")
    for label, seconds in (
        ("pandas, only rolling.cov", min(cov)),
        ("pandas, cov, var, means", min(full)),
        (f"statsmodels RollingOLS, from {STATSMODELS_COINS} coins", slow),
    ):
        table.add_row(label, f"{seconds * 1e3:,.0f}", f"{seconds / weft:,.0f}x")
    console.print(table)
    largest = max(differences.values())
    console.print(f"Betas and residuals agree to {largest:.0e}, in the same rows.")
    _layer(console)


def _returns() -> Lines:
    rng = np.random.default_rng(0)
    x = rng.normal(0.001, 0.03, (DAYS, 1))
    y = rng.uniform(0.2, 2.0, COINS) * x + rng.normal(0.0, 0.03, (DAYS, COINS))
    return x, y


def _weft(x: FloatPanel, y: FloatPanel) -> Lines:
    lines = fit(x, y, window=WINDOW, least=WINDOW, first_index=11, rows=DAYS, outputs=2)
    return lines[0], lines[1]


def _pandas_cov(x: "pd.Series[float]", y: pd.DataFrame) -> pd.DataFrame:
    return y.rolling(WINDOW).cov(x)


def _pandas(x: "pd.Series[float]", y: pd.DataFrame) -> Lines:
    beta = y.rolling(WINDOW).cov(x).div(x.rolling(WINDOW).var(), axis=0)
    constant = y.rolling(WINDOW).mean() - beta.mul(x.rolling(WINDOW).mean(), axis=0)
    residual = y - constant - beta.mul(x, axis=0)
    return beta.to_numpy(), residual.to_numpy()


def _statsmodels(x: FloatPanel, y: FloatPanel) -> Lines:
    explained = np.column_stack([np.ones(len(x)), x[:, 0]])
    fits = [RollingOLS(y[:, k], explained, WINDOW).fit().params for k in range(y.shape[1])]
    beta = np.column_stack([f[:, 1] for f in fits])
    fitted = np.column_stack([(f * explained).sum(axis=1) for f in fits])
    return beta, y - fitted


def _difference(lines: Lines, expected: Lines) -> float:
    for ours, theirs in zip(lines, expected, strict=True):
        if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
            raise SystemExit("values are missing on one side only")
    return max(float(np.nanmax(np.abs(o - t))) for o, t in zip(lines, expected, strict=True))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _layer(console: Console) -> None:
    layer = Correlation()
    rng = np.random.default_rng(1)
    returns = rng.normal(0, 0.005, (6_200, 1)) + rng.normal(0, 0.005, (6_200, 100))
    close = np.exp(np.cumsum(returns, axis=0))
    names = ("open", "high", "low", "close", "volume")
    bases = ("BTC", "ETH", "SOL", *(f"C{k}" for k in range(97)))
    instruments = tuple(describe(f"{base}USDT") for base in bases)
    history = History(Interval.parse("1h"), instruments, dict.fromkeys(names, close), {})
    for steps in (1, 5_000):
        times = []
        for _ in range(4):
            # A view caches its features, so each round needs a new one.
            view = history.view(layer.needs, steps=steps)
            times.append(_timed(partial(layer.score, view)))
        spent = statistics.median(times[1:])
        console.print(f"The layer on 100 symbols, {steps:,} rows: {spent * 1e3:,.0f} ms.")


if __name__ == "__main__":
    main()

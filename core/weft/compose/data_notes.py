"""Notes on the data behind a signal: what is wrong with it, in words, and what to do."""

from collections.abc import Iterator, Mapping

import numpy as np

from weft.compose.composition import COVERAGE_ROWS
from weft.domain.breaks import Aside
from weft.domain.candles import Candles, Presence
from weft.domain.instruments import Instrument, unsettled
from weft.foundation.arrays import FloatPanel
from weft.foundation.times import DAY, SECOND, iso
from weft.market.view import View

_STATUS = {Presence.TRADED: "live", Presence.CLOSED: "closed", Presence.HOLE: "stale"}


def status(candles: Candles, at: int, column: int) -> str:
    """Return the status of a symbol's market on a row: see `weft.domain.signal.DataProvenance`."""
    match int(candles.aside[at, column]):
        case Aside.LEAP:
            return "broken"
        case Aside.IDLE:
            return "halted"
        case _:
            return _STATUS[Presence(int(candles.presence[at, column]))]


def notes(candles: Candles, at: int, column: int, instrument: Instrument) -> tuple[str, ...]:
    """Return a line for each leap, halt or hole in a symbol's latest `COVERAGE_ROWS` candles.

    Args:
        candles: of the decision interval.
        at: the row.
        column: of the symbol.
        instrument: the symbol's, for notes on what its listing leaves open.
    """
    first = max(0, at + 1 - COVERAGE_ROWS)
    window = candles.slice(first, at + 1)
    return (
        *unsettled([instrument]),
        *_leaps(window, column),
        *_halt(window, column),
        *_holes(window, column),
    )


def too_old(view: View) -> dict[str, FloatPanel]:
    """Return the age in seconds of each metric that is too old to count (steps, symbol), by name.

    NaN where a metric counts, or was never known. Metrics that count everywhere are left out.
    """
    data = view.loaded
    if not data.old:
        for name, panel_of in data.metrics.items():
            panel = panel_of(view.times)
            data.old[name] = np.where(np.isnan(panel.values), panel.age_seconds, np.nan)
    return {name: ages for name, ages in data.old.items() if not np.isnan(ages).all()}


def stale_notes(stale: Mapping[str, float | None]) -> tuple[str, ...]:
    """Return a line that names the metrics that are too old to count; none for no metrics.

    Args:
        stale: age of each metric in seconds, by name.
    """
    if not stale:
        return ()
    ages = ", ".join(f"{n} ({(s or 0.0) * SECOND / DAY:.3g} days)" for n, s in stale.items())
    line = (
        f"unknown, as the newest value is too old: {ages}. Look at the source with "
        "`weft providers status`; where it brings values less often, set reconcile.max_age"
    )
    return (line,)


def _leaps(window: Candles, column: int) -> Iterator[str]:
    leaps = np.flatnonzero(window.aside[:, column] == Aside.LEAP)
    if not len(leaps):
        return
    latest, close = int(leaps[-1]), window.close[:, column]
    before, after = (part[~np.isnan(part)] for part in (close[:latest], close[latest + 1 :]))
    moved = f" from {before[-1]:.6g} to {after[0]:.6g}" if len(before) and len(after) else ""
    yield (
        f"{window.symbols[column]}: the price leapt{moved} in the candle of "
        f"{iso(int(window.times[latest]))} without a trade between, as after a split or a "
        "redenomination; the series starts afresh there. Bring prices adjusted for it to have the "
        "history before it back"
    )


def _halt(window: Candles, column: int) -> Iterator[str]:
    aside = window.aside[:, column]
    if aside[-1] != Aside.IDLE:
        return
    others = np.flatnonzero(aside != Aside.IDLE)
    begun = iso(int(window.times[others[-1]])) if len(others) else iso(int(window.times[0]))
    yield (
        f"{window.symbols[column]}: not trading: one price and no volume, since {begun} or longer; "
        "no position until it trades again"
    )


def _holes(window: Candles, column: int) -> Iterator[str]:
    if window.closable[column]:
        return
    there = window.presence[:, column] == Presence.TRADED
    missing = np.flatnonzero(~there & (window.aside[:, column] == Aside.COUNTS))
    missing = missing[missing > there.argmax()] if there.any() else missing[:0]
    # A hole at the end is what the status says.
    missing = missing[missing < len(there) - there[::-1].argmax()]
    if len(missing):
        yield (
            f"{window.symbols[column]}: {len(missing)} of the last {len(there)} candles are "
            f"missing, the latest that of {iso(int(window.times[missing[-1]]))}; indicators start "
            "afresh after each. `weft backfill` asks for them again"
        )

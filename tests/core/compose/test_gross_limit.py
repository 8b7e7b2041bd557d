"""The limit on what all signals hold together: a row keeps to it, and keeps its proportions."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support import ALONE, fetch, make_engine
from weft.components.base import ComponentConfig
from weft.components.ensemble import Fusion
from weft.components.risk import Levels, Sizer, Sizes
from weft.compose.gross_limit import SAME_ASSET, UNLIMITED, once_per_asset, within_gross
from weft.domain.instruments import describe
from weft.domain.signal import Direction
from weft.foundation.arrays import FloatPanel
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ComponentError
from weft.foundation.times import parse_time
from weft.market.view import View

NOW = parse_time("2026-04-01T00:00:00Z")

SHAPE = (4, 5)
# Of sizes below the smallest normal number a share can be nothing at all.
sizes = st.floats(0, 2, allow_subnormal=False)
fractions = arrays(np.float64, SHAPE, elements=st.one_of(sizes, st.just(np.nan)))


@given(fractions, arrays(np.bool_, SHAPE), st.floats(0.01, 5))
def test_what_a_row_holds_stays_within_the_limit(
    wanted: FloatPanel, acts: np.ndarray, most: float
) -> None:
    said = within_gross(Sizes(wanted, {"other": wanted}), acts, most)
    before, after = (np.nansum(np.where(acts, f, 0.0), axis=1) for f in (wanted, said.fraction))
    assert (after <= most * (1 + 1e-12)).all()
    np.testing.assert_allclose(after, np.minimum(before, most), rtol=1e-12)
    kept = before <= most
    np.testing.assert_array_equal(said.fraction[kept], wanted[kept])
    np.testing.assert_allclose(
        said.fraction[~kept] * before[~kept, None], wanted[~kept] * most, rtol=1e-12, atol=1e-300
    )
    assert said.evidence[UNLIMITED] is wanted
    assert said.evidence["other"] is wanted


@given(fractions, arrays(np.bool_, SHAPE))
def test_a_row_alone_is_sized_as_among_others(wanted: FloatPanel, acts: np.ndarray) -> None:
    together = within_gross(Sizes(wanted), acts, 1.0).fraction
    for row in range(SHAPE[0]):
        kept = slice(row, row + 1)
        alone = within_gross(Sizes(wanted[kept]), acts[kept], 1.0).fraction
        np.testing.assert_array_equal(alone, together[kept])


@given(fractions, arrays(np.bool_, SHAPE), st.floats(0.01, 5), st.floats(0, 1))
def test_what_a_row_holds_is_proportional_to_a_multiplier_of_all_sizes(
    full: FloatPanel, acts: np.ndarray, most: float, multiplier: float
) -> None:
    def gross(times: float) -> np.ndarray:
        sizes = within_gross(Sizes(times * full, full=full), acts, most)
        return np.asarray(np.nansum(np.where(acts, sizes.fraction, 0.0), axis=1))

    np.testing.assert_allclose(gross(multiplier), multiplier * gross(1.0), rtol=1e-12, atol=1e-300)


@given(fractions, arrays(np.float64, SHAPE, elements=st.floats(0, 1)), st.floats(0.01, 5))
def test_a_smaller_share_of_one_signal_changes_no_other(
    full: FloatPanel, shares: FloatPanel, most: float
) -> None:
    acts, fewer = np.ones(SHAPE, dtype=np.bool_), shares.copy()
    fewer[:, 0] = 0.0
    before, after = (within_gross(Sizes(full * s, full=full), acts, most) for s in (shares, fewer))
    np.testing.assert_array_equal(after.fraction[:, 1:], before.fraction[:, 1:])
    assert (np.nansum(after.fraction, axis=1) <= most * (1 + 1e-12)).all()


def test_without_symbols_there_is_nothing_to_hold() -> None:
    empty = np.empty((3, 0))
    assert within_gross(Sizes(empty), empty.astype(np.bool_), 1.0).fraction.shape == (3, 0)


def test_signals_of_an_engine_keep_to_the_limit_of_its_config(tmp_path: Path) -> None:
    """A smaller limit scales the same signals down, and each says what it would have been."""
    clock = SimulatedClock(NOW)
    reports = {}
    for most in (0.05, 99.0):
        folder = tmp_path / str(most)
        engine = fetch(make_engine(folder, *ALONE, f"max_gross_exposure={most}", clock=clock))
        reports[most] = engine.report(engine.compose(engine.view(NOW))).signals
    limited, free = (sum(s.position_size for s in reports[most]) for most in (0.05, 99.0))
    assert limited == pytest.approx(0.05)
    assert free > 0.2
    for small, whole in zip(reports[0.05], reports[99.0], strict=True):
        assert small.direction == whole.direction
        assert small.position_size == pytest.approx(whole.position_size * 0.05 / free)
        if whole.direction is not Direction.NEUTRAL:
            assert small.sizing[UNLIMITED] == whole.position_size


class Wild(Sizer):
    """Says the size it was told to say."""

    name = "wild"

    class Config(ComponentConfig):
        """Options."""

        says: str = "inf"

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        return Sizes(np.full(fusion.score.shape, float(self.config.says)))


class Reduces(Sizer):
    """Wants the whole equity in each signal, and holds a share of that."""

    name = "reduces"

    class Config(ComponentConfig):
        """Options."""

        share: float = 1.0

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        full = np.abs(fusion.direction).astype(np.float64)
        return Sizes(self.config.share * full, full=full)


def test_half_of_a_size_is_half_of_the_exposure_where_the_limit_binds(tmp_path: Path) -> None:
    exposure = {}
    for share in (1.0, 0.5, 0.1):
        options = (*ALONE, f"sizer={{use: reduces, share: {share}}}")
        engine = make_engine(
            tmp_path / str(share), *options, extra=[Reduces], clock=SimulatedClock(NOW)
        )
        signals = fetch(engine).report(engine.compose(engine.view(NOW))).signals
        exposure[share] = sum(signal.position_size for signal in signals)
    assert exposure == pytest.approx({1.0: 1.0, 0.5: 0.5, 0.1: 0.1})


@pytest.mark.parametrize("says", ["inf", "-0.1"])
def test_a_size_that_is_none_is_refused(tmp_path: Path, says: str) -> None:
    options = (*ALONE, "sizer={use: wild, says: '" + says + "'}")
    engine = fetch(make_engine(tmp_path, *options, extra=[Wild], clock=SimulatedClock(NOW)))
    with pytest.raises(ComponentError, match=f"sizer wild: returned a size of {says} for [A-Z]+"):
        engine.compose(engine.view(NOW))


NAMES = ("XRPUSDT", "XRP-USD", "DOGEUSDT", "XRP", "1000PEPEUSDT")


@given(
    arrays(np.float64, SHAPE, elements=sizes),
    arrays(np.int8, SHAPE, elements=st.integers(-1, 1)),
)
def test_one_coin_is_held_once_under_two_quotes(wanted: FloatPanel, direction: np.ndarray) -> None:
    instruments = [describe(name) for name in NAMES]
    found = once_per_asset(Sizes(wanted), direction != 0, direction, instruments)
    np.testing.assert_array_equal(found.fraction[:, 2:], wanted[:, 2:])
    for row in range(len(wanted)):
        one, two = wanted[row, :2]
        if direction[row, 0] == direction[row, 1] != 0 and one + two > 0:
            np.testing.assert_allclose(found.fraction[row, :2].sum(), max(one, two), rtol=1e-12)
            np.testing.assert_allclose(
                found.fraction[row, 0] * two, found.fraction[row, 1] * one, rtol=1e-9, atol=1e-300
            )
        else:
            np.testing.assert_array_equal(found.fraction[row, :2], wanted[row, :2])
    np.testing.assert_array_equal(found.fraction, wanted * found.evidence[SAME_ASSET])

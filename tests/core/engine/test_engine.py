"""The engine over a real store: purity, and what it does when a component fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import httpx
import numpy as np
import polars as pl
import pytest

from tests.support import ALONE, fetch, make_engine
from weft import Batch, Layer, Provider, Request, Scores, Signal, Sink, View, candles
from weft.components.ensemble import Fusion
from weft.components.risk import Levels, Sizer, Sizes
from weft.domain.instruments import describe
from weft.engine.engine import Engine
from weft.foundation.clock import Clock, SimulatedClock
from weft.foundation.errors import ComponentError, ConfigError, LookAheadError
from weft.foundation.times import DAY, HOUR, parse_time
from weft.sources.http import Http
from weft_plugins.ensembles.weighted import Weighted

NOW = parse_time("2026-04-01T00:00:00Z")


def engine_at(folder: Path, now: int, *overrides: str) -> Engine:
    return fetch(make_engine(folder, *overrides, clock=SimulatedClock(now)))


def said(engine: Engine, as_of: int) -> bytes:
    return engine.report(engine.compose(engine.view(as_of))).to_json()


def test_the_same_instant_gives_the_same_bytes(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, NOW)
    assert said(engine, NOW) == said(engine, NOW)
    assert said(engine, NOW) != said(engine, NOW - HOUR)


def test_what_came_later_changes_nothing(tmp_path: Path) -> None:
    before = said(engine_at(tmp_path / "early", NOW), NOW)
    later = engine_at(tmp_path / "late", NOW + 40 * DAY)
    assert said(later, NOW) == before


def test_live_history_and_a_restart_agree_to_the_last_bit(tmp_path: Path) -> None:
    """Across a block boundary of the features, where their state starts anew."""
    clock = SimulatedClock(parse_time("2026-03-30T12:00:00Z"))
    live = fetch(make_engine(tmp_path / "live", clock=clock))
    lived = {}
    for _ in range(60):
        clock.advance_to(clock.now() + HOUR)
        fetch(live)
        as_of = live.latest_close()
        live.market.warm_up_to(as_of)
        lived[as_of] = said(live, as_of)
    history = engine_at(tmp_path / "history", clock.now())
    for as_of, bytes_then in lived.items():
        assert said(history, as_of) == bytes_then


def test_many_rows_at_once_say_what_row_by_row_says(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, NOW)
    whole = engine.compose(engine.view(NOW, steps=48))
    for row in (0, 13, 47):
        as_of = NOW - (47 - row) * HOUR
        single = engine.compose(engine.view(as_of))
        np.testing.assert_array_equal(whole.fusion.score[row], single.fusion.score[0])
        np.testing.assert_array_equal(whole.levels.stop_loss[row], single.levels.stop_loss[0])
        np.testing.assert_array_equal(whole.sizes.fraction[row], single.sizes.fraction[0])
        assert engine.report(whole, row).to_json() == engine.report(single).to_json()


def test_a_correction_leaves_old_answers_as_they_were(tmp_path: Path) -> None:
    clock = SimulatedClock(NOW)
    engine = fetch(make_engine(tmp_path, clock=clock))
    before = said(engine, NOW)
    source = engine.composition.providers[0].component.source
    clock.advance_to(NOW + HOUR)
    interval = engine.composition.interval
    spoilt = (
        engine.store.candles({source: ["BTCUSDT"]}, interval)
        .tail(5)
        .with_columns(pl.col("open", "high", "low", "close") * 3)
        .drop("source")
    )
    added = engine.store.append_candles(source, spoilt)
    assert added.restated == 5
    engine.market.absorb(source, [added.rows])
    assert said(engine, NOW) == before


def test_the_future_cannot_be_asked_for(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, NOW)
    with pytest.raises(LookAheadError, match="future"):
        engine.view(NOW + HOUR)
    with pytest.raises(LookAheadError, match="at least one"):
        engine.view(NOW, steps=0)


class Raises(Layer):
    """Always raises."""

    name = "raises"

    def score(self, view: View) -> Scores:
        raise ZeroDivisionError("oh no")


class Hangs(Layer):
    """Takes its time."""

    name = "hangs"

    def score(self, view: View) -> Scores:
        time.sleep(5)
        return view.scores(np.zeros((view.steps, len(view.symbols))))


class TooLoud(Layer):
    """Goes beyond the range."""

    name = "too_loud"

    def score(self, view: View) -> Scores:
        return view.scores(np.full((view.steps, len(view.symbols)), 1e9))


class WrongShape(Layer):
    """Forgets a dimension."""

    name = "wrong_shape"

    def score(self, view: View) -> Scores:
        return view.scores(np.zeros(3))


class Greedy(Layer):
    """Looks at more than it declares."""

    name = "greedy"
    needs: ClassVar = [candles(warmup=5)]

    def score(self, view: View) -> Scores:
        view.candles("4h")
        return view.scores(np.zeros((view.steps, len(view.symbols))))


class Vandal(Layer):
    """Writes to what it is shown."""

    name = "vandal"
    needs: ClassVar = [candles(warmup=5)]

    def score(self, view: View) -> Scores:
        view.candles().close[:] = 0.0
        return view.scores(np.zeros((view.steps, len(view.symbols))))


BAD_LAYERS = {
    Raises: "ZeroDivisionError: oh no",
    Hangs: "no answer within 0.2 seconds",
    TooLoud: "expected -100 to 100",
    WrongShape: "shape",
    Greedy: "does not declare",
    Vandal: "read-only",
}


@pytest.mark.parametrize("layer", BAD_LAYERS)
def test_a_layer_that_fails_stops_the_composition_unless_it_may_be_missing(
    layer: type[Layer], tmp_path: Path
) -> None:
    overrides = [*ALONE, f"layers.{layer.name}.weight=0.3"]
    if layer is Hangs:
        overrides.append("layers.hangs.deadline_seconds=0.2")
    strict = fetch(make_engine(tmp_path, *overrides, extra=[layer], clock=SimulatedClock(NOW)))
    with pytest.raises(ComponentError, match=BAD_LAYERS[layer]) as caught:
        strict.compose(strict.view())
    assert layer.name in str(caught.value)

    lenient = make_engine(
        tmp_path,
        *overrides,
        f"layers.{layer.name}.on_error=degrade",
        extra=[layer],
        clock=SimulatedClock(NOW),
    )
    report = lenient.report(lenient.compose(lenient.view()))
    healthy = make_engine(tmp_path, *ALONE, clock=SimulatedClock(NOW))
    whole = healthy.report(healthy.compose(healthy.view()))
    for signal, without in zip(report.signals, whole.signals, strict=True):
        assert BAD_LAYERS[layer] in signal.missing_layers[layer.name]
        assert signal.score == without.score
        # Half of the base weight has nothing to say.
        assert signal.confidence == pytest.approx(without.confidence / 2)


def test_a_long_view_has_more_time_in_proportion(tmp_path: Path) -> None:
    composition = make_engine(
        tmp_path, "layers.technical.deadline_seconds=2", "sizer.deadline_seconds=3"
    ).composition
    assert composition.for_rows(1) is composition.for_rows(64) is composition
    longer = composition.for_rows(640)
    assert longer.deadline("sizer") == 30.0
    assert longer.deadline("risk") == 200.0
    seconds = {layer.policy.name: layer.policy.deadline_seconds for layer in longer.layers}
    assert seconds["technical"] == 20.0
    assert seconds["correlation"] == 200.0


def test_a_layer_that_is_not_installed_may_be_missing_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"layers\.absent"):
        make_engine(tmp_path, "layers.absent.weight=0.1")
    absent = ("layers.absent.weight=0.1", "layers.absent.on_error=degrade")
    engine = engine_at(tmp_path, NOW, *ALONE, *absent)
    report = engine.report(engine.compose(engine.view()))
    assert "absent" in report.signals[0].missing_layers
    assert {layer.name: layer.status for layer in report.signals[0].layers} == {
        "absent": "failed",
        "technical": "ok",
    }


@pytest.mark.parametrize("section", ["universe", "ensemble", "risk", "sizer"])
@pytest.mark.parametrize("option", ["enabled=false", "on_error=degrade"])
def test_what_no_composition_can_do_without_cannot_be_left_out(
    tmp_path: Path, section: str, option: str
) -> None:
    key = option.partition("=")[0]
    with pytest.raises(ConfigError) as caught:
        make_engine(tmp_path, f"{section}.{option}", f"{section}.use=absent")
    refused, unknown = caught.value.problems
    told = f"{section}.{key}: nothing can be composed without one; leave {key} out (set by --set)"
    assert refused == told
    assert unknown.startswith(f"{section} (set by --set): ")
    assert "'absent'" in unknown


class Sleeps(Sizer):
    """Takes its time."""

    name = "sleeps"

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        time.sleep(5)
        return Sizes(np.zeros_like(fusion.score))


def test_a_deadline_of_its_own_counts_for_what_is_always_there_too(tmp_path: Path) -> None:
    own = ("sizer.use=sleeps", "sizer.deadline_seconds=0.2")
    engine = fetch(make_engine(tmp_path, *ALONE, *own, extra=[Sleeps], clock=SimulatedClock(NOW)))
    with pytest.raises(ComponentError, match=r"sizer sleeps: gave no answer within 0\.2 seconds"):
        engine.compose(engine.view())


def test_sections_that_are_not_used_yet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="allocator"):
        make_engine(tmp_path, "allocator.use=ranks")


class TwoSources(Provider):
    """Brings one coin, at a price that tells who brought it."""

    price: ClassVar[float]

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        opened = np.arange(clock.now() - 30 * DAY, clock.now(), HOUR)
        flat = np.full(len(opened), self.price)
        frame = pl.DataFrame(
            {
                "symbol": "XCOINUSDT",
                "interval": "1h",
                "open_time": pl.Series(opened).cast(pl.Datetime("us", "UTC")),
                **dict.fromkeys(("open", "close", "volume"), flat),
                "high": 1.01 * flat,
                "low": 0.99 * flat,
            }
        )
        yield Batch(candles=frame, instruments=(describe("XCOINUSDT"),))


class Upper(TwoSources):
    """The preferred one."""

    name = "upper"
    price = 2.0


class Lower(TwoSources):
    """The other."""

    name = "lower"
    price = 1.0


@pytest.mark.parametrize("order", [(Upper, Lower), (Lower, Upper)])
def test_the_upper_of_two_providers_is_preferred(
    order: tuple[type[TwoSources], type[TwoSources]], tmp_path: Path
) -> None:
    overrides = [f"providers.{cls.name}.enabled=true" for cls in order]
    engine = make_engine(tmp_path, *overrides, extra=order, clock=SimulatedClock(NOW))
    report = fetch(engine).report(engine.compose(engine.view()))
    assert [s.entry for s in report.signals] == [order[0].price]
    assert report.signals[0].data.provider == order[0].name


def test_another_preference_is_another_composition(tmp_path: Path) -> None:
    digests = set()
    for order in ((Upper, Lower), (Lower, Upper)):
        overrides = [f"providers.{cls.name}.enabled=true" for cls in order]
        digests.add(make_engine(tmp_path, *overrides, extra=order).composition.versions.config)
    assert len(digests) == 2


class Unreachable(Upper):
    """Cannot be reached."""

    name = "unreachable"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        if not request.known:
            raise httpx.ConnectError("no route")
        yield Batch()


def test_a_provider_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    overrides = ["providers.unreachable.enabled=true", "providers.lower.enabled=true"]
    both = [Unreachable, Lower]
    strict = make_engine(tmp_path, *overrides, extra=both, clock=SimulatedClock(NOW))
    with pytest.raises(ComponentError, match="no route"):
        asyncio.run(strict.update())
    assert list(strict.market.listings) == ["XCOINUSDT"]
    lenient = make_engine(
        tmp_path / "other",
        *overrides,
        "providers.unreachable.on_error=degrade",
        extra=both,
        clock=SimulatedClock(NOW),
    )
    collected = asyncio.run(lenient.update())
    told = {c.provider: c.error for c in collected}
    assert told["lower"] is None
    assert "no route" in str(told["unreachable"])


class Keeps(Sink):
    """Keeps what it is given."""

    name = "keeps"
    kept: ClassVar[list[Signal]] = []

    async def emit(self, signals: Sequence[Signal]) -> None:
        self.kept.extend(signals)


class Drops(Sink):
    """Fails."""

    name = "drops"

    async def emit(self, signals: Sequence[Signal]) -> None:
        raise ConnectionError("gone")


def test_sinks_get_the_signals_each_by_itself(tmp_path: Path) -> None:
    Keeps.kept.clear()
    engine = make_engine(
        tmp_path,
        "sinks.keeps.enabled=true",
        "sinks.drops.enabled=true",
        extra=[Keeps, Drops],
        clock=SimulatedClock(NOW),
    )
    report = fetch(engine).report(engine.compose(engine.view()))
    failed = asyncio.run(engine.carry_out(report))
    assert list(failed) == ["drops"]
    assert failed["drops"].startswith("sink drops: raised ConnectionError: gone.")
    assert tuple(Keeps.kept) == report.signals


class NotANumber(Weighted):
    """Fuses to nothing."""

    name = "not_a_number"

    def fuse(
        self, view: View, scores: Mapping[str, Scores], weights: Mapping[str, float]
    ) -> Fusion:
        fusion = super().fuse(view, scores, weights)
        return replace(fusion, score=np.full_like(fusion.score, np.nan))


class TooSure(Weighted):
    """Is more than certain."""

    name = "too_sure"

    def fuse(
        self, view: View, scores: Mapping[str, Scores], weights: Mapping[str, float]
    ) -> Fusion:
        fusion = super().fuse(view, scores, weights)
        return replace(fusion, confidence=np.full_like(fusion.confidence, 1.005))


@pytest.mark.parametrize(
    ("ensemble", "said"), [(NotANumber, "not a number"), (TooSure, "expected 0 to 1")]
)
def test_an_ensemble_keeps_to_its_contract_or_is_refused(
    ensemble: type[Weighted], said: str, tmp_path: Path
) -> None:
    use = f"ensemble.use={ensemble.name}"
    engine = fetch(make_engine(tmp_path, use, extra=[ensemble], clock=SimulatedClock(NOW)))
    with pytest.raises(ComponentError, match=said):
        engine.compose(engine.view(NOW))


def test_a_signal_states_confidence_as_percent_of_the_fused_share(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, NOW, *ALONE)
    composed = engine.compose(engine.view())
    share = dict(zip(composed.view.symbols, composed.fusion.confidence[-1], strict=True))
    signals = engine.report(composed).signals
    assert max(signal.confidence for signal in signals) > 1.0
    for signal in signals:
        assert signal.confidence == pytest.approx(100.0 * share[signal.symbol], rel=1e-8)

"""Hostile and broken components of a composition, and sound ones that need nothing compiled."""

import asyncio
import ctypes
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np

from weft import (
    Ensemble,
    Fusion,
    Layer,
    Levels,
    Risk,
    Scores,
    Signal,
    Sink,
    Sizer,
    Sizes,
    Universe,
    View,
    candles,
)
from weft.components.base import Component
from weft.foundation.arrays import BoolPanel
from weft_plugins.ensembles.weighted import Weighted


class Plain(Layer):
    """Long, always."""

    name = "plain"
    needs: ClassVar = [candles(warmup=5)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        return view.scores(np.full(close.shape, 60.0), evidence={"close": close})


class PlainRisk(Risk):
    """Stops a tenth away, gains a fifth."""

    name = "plain_risk"
    needs: ClassVar = [candles(warmup=0)]

    def levels(self, view: View, fusion: Fusion) -> Levels:
        close = view.candles().close[-view.steps :]
        side = fusion.direction
        return Levels(close, (1.0 - 0.1 * side) * close, (1.0 + 0.2 * side) * close)


class PlainSizer(Sizer):
    """A tenth of the equity."""

    name = "plain_sizer"

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        return Sizes(np.full(fusion.score.shape, 0.1))


PLAIN: tuple[type[Component], ...] = (Plain, PlainRisk, PlainSizer)


# Layers that end, hang, or answer nonsense


class Exits(Layer):
    name = "exits"

    def score(self, view: View) -> Scores:
        sys.exit(7)


class Interrupts(Layer):
    name = "interrupts"

    def score(self, view: View) -> Scores:
        raise KeyboardInterrupt


class Hangs(Layer):
    name = "hangs"

    def score(self, view: View) -> Scores:
        time.sleep(20)
        return view.scores(np.zeros((view.steps, len(view.symbols))))


class Recurses(Layer):
    name = "recurses"

    def score(self, view: View) -> Scores:
        return self.score(view)


class AnswersLater(Layer):
    name = "answers_later"

    async def score(self, view: View) -> Scores:  # type: ignore[override]  # the mistake
        return view.scores(np.zeros((view.steps, len(view.symbols))))


class AnswersNothing(Layer):
    name = "answers_nothing"

    def score(self, view: View) -> Any:
        view.scores(np.zeros((view.steps, len(view.symbols))))


class AnswersLists(Layer):
    name = "answers_lists"

    def score(self, view: View) -> Scores:
        return view.scores([[0.0]])  # type: ignore[arg-type]  # the mistake


class AnswersObjects(Layer):
    name = "answers_objects"

    def score(self, view: View) -> Scores:
        return view.scores(np.full((view.steps, len(view.symbols)), None))


class Writes(Layer):
    """Tries every way there is to make the market its own."""

    name = "writes"
    needs: ClassVar = [candles(warmup=5)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        ways: list[Callable[[], object]] = [
            lambda: close.setflags(write=True),
            lambda: close.view().setflags(write=True),
            lambda: np.lib.stride_tricks.as_strided(close, writeable=True).fill(1e9),
            lambda: setattr(np.asarray(close).flags, "writeable", True),
            lambda: np.copyto(close, 1e9),
            lambda: close.base.fill(1e9) if isinstance(close.base, np.ndarray) else None,
        ]
        for reach in ways:
            with suppress(ValueError):
                reach()
        close[:] = 1e9
        return view.scores(close)


LAYERS: dict[type[Layer], str] = {
    Exits: "raised SystemExit: 7",
    Interrupts: "raised KeyboardInterrupt",
    Hangs: "gave no answer within 1 seconds",
    Recurses: "raised RecursionError",
    AnswersLater: "returned a coroutine, expected Scores. Write `def` instead of `async def`",
    AnswersNothing: "returned None, expected Scores",
    AnswersLists: "returned a list as a panel, expected a NumPy array",
    AnswersObjects: "returned score of dtype object, expected numbers (float64)",
    Writes: "raised ValueError: assignment destination is read-only",
}


# The four without which nothing is composed


class NobodyChosen(Universe):
    name = "nobody_chosen"

    def members(self, view: View) -> Any:
        return None


class NumbersChosen(Universe):
    name = "numbers_chosen"

    def members(self, view: View) -> BoolPanel:
        return np.ones((view.steps, len(view.symbols)))  # type: ignore[return-value]  # the mistake


class FusesNothing(Ensemble):
    name = "fuses_nothing"

    def fuse(self, view: View, scores: Mapping[str, Scores], weights: Mapping[str, float]) -> Any:
        return None


class Contradicts(Weighted):
    name = "contradicts"

    def fuse(
        self, view: View, scores: Mapping[str, Scores], weights: Mapping[str, float]
    ) -> Fusion:
        said = super().fuse(view, scores, weights)
        return Fusion(-said.score, said.confidence, said.direction, said.weights, False)


class RewritesItsInput(Weighted):
    name = "rewrites_its_input"

    def fuse(
        self, view: View, scores: Mapping[str, Scores], weights: Mapping[str, float]
    ) -> Fusion:
        weights["plain"] = 0.0  # type: ignore[index]  # the mistake
        return super().fuse(view, scores, weights)


class SetsNoLevels(Risk):
    name = "sets_no_levels"

    def levels(self, view: View, fusion: Fusion) -> Any:
        return None


class StopsAbove(PlainRisk):
    name = "stops_above"

    def levels(self, view: View, fusion: Fusion) -> Levels:
        placed = super().levels(view, fusion)
        return Levels(placed.entry, 2.0 * placed.entry, placed.take_profit)


class SizesNothing(Sizer):
    name = "sizes_nothing"

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Any:
        return None


class SizesBelowZero(Sizer):
    name = "sizes_below_zero"

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        return Sizes(-np.ones(fusion.score.shape))


class SizesInText(Sizer):
    name = "sizes_in_text"

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        return Sizes(np.full(fusion.score.shape, "10 %"))


NEEDED: dict[type[Component], str] = {
    NobodyChosen: "returned None as members",
    NumbersChosen: "returned members of dtype float64, expected True and False (bool)",
    FusesNothing: "returned None, expected Fusion",
    Contradicts: "returned the direction LONG with a score on the other side (-60)",
    RewritesItsInput: "raised TypeError: 'mappingproxy' object does not support item assignment",
    SetsNoLevels: "returned None, expected Levels",
    StopsAbove: "returned a stop_loss on the wrong side of the entry of a LONG (2)",
    SizesNothing: "returned None, expected Sizes",
    SizesBelowZero: "returned a size of -1 for SOUNDUSDT, expected 0 or more",
    SizesInText: "returned size of dtype <U4, expected numbers (float64)",
}


class Keeps(PlainSizer):
    """Keeps what it handed out, and writes to it when it is called again."""

    name = "keeps"
    kept: ClassVar[list[Sizes]] = []

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        for sizes in self.kept:
            sizes.fraction[:] = 99.0
        self.kept.append(super().size(view, fusion, levels))
        return self.kept[-1]


class Reaches(Layer):
    """Writes past NumPy, as C code can. The host cannot refuse it; the kit notices."""

    name = "reaches"
    needs: ClassVar = [candles(warmup=5)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        ctypes.memset(close.ctypes.data, 0, close.itemsize)
        return view.scores(np.zeros(close.shape))


# Sinks


class Delivers(Sink):
    name = "delivers"
    delivered: ClassVar[list[Signal]] = []

    async def emit(self, signals: Sequence[Signal]) -> None:
        self.delivered.extend(signals)


class SinkExits(Sink):
    name = "sink_exits"

    async def emit(self, signals: Sequence[Signal]) -> None:
        sys.exit(9)


class SinkBlocks(Sink):
    name = "sink_blocks"

    async def emit(self, signals: Sequence[Signal]) -> None:
        time.sleep(20)  # noqa: ASYNC251  # the mistake


class SinkWaits(Sink):
    name = "sink_waits"

    async def emit(self, signals: Sequence[Signal]) -> None:
        await asyncio.Event().wait()


class SinkIsNoCoroutine(Sink):
    name = "sink_is_no_coroutine"

    def emit(self, signals: Sequence[Signal]) -> Any:
        return len(signals)


class SinkRewrites(Sink):
    """Writes to the signals it was handed."""

    name = "sink_rewrites"

    async def emit(self, signals: Sequence[Signal]) -> None:
        for signal in signals:
            signal.layers[0].evidence["close"] = 1e9  # type: ignore[index]  # the mistake
        raise RuntimeError("rewritten")


SINKS: dict[type[Sink], str] = {
    SinkExits: "raised SystemExit: 9",
    SinkBlocks: "has blocked its thread for",
    SinkWaits: "was not done within 1 seconds",
    SinkIsNoCoroutine: "emit() returned an int, expected something to await",
    SinkRewrites: "raised RuntimeError: rewritten",
}

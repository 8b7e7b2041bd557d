"""Inputs of a kernel: a candle panel, and a feature with its options."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from weft.components.feature import StepFeature
from weft.domain.candles import Candles
from weft.features.kernels import Kernel, compile_step
from weft.features.lanes import State, new_state
from weft.foundation.arrays import BoolPanel, FloatPanel, Floats


class Source:
    """A candle panel as the arrays that kernels take."""

    def __init__(self, candles: Candles) -> None:
        self.candles = candles
        self.rows = len(candles.times)
        self.begins = candles.interval.index(int(candles.times[0])) if self.rows else 0
        self.ends = self.begins + self.rows
        self.columns = len(candles.symbols)
        prices = (candles.open, candles.high, candles.low, candles.close, candles.volume)
        self.arrays = (candles.presence, candles.times, *prices)

    @cached_property
    def always_open(self) -> BoolPanel:
        """Whether each symbol's market never closes (symbol,)."""
        return np.equal(self.candles.closable, 0)

    @cached_property
    def sessions(self) -> bool:
        """Whether any symbol's market closes."""
        return not bool(self.always_open.all())


class Run:
    """A feature bound to its compiled loop and its options."""

    def __init__(self, feature: StepFeature) -> None:
        self.feature = feature
        self.outputs = feature.outputs
        self.warmup = feature.warmup

    @cached_property
    def kernel(self) -> Kernel:
        """The feature's compiled loop."""
        return compile_step(self.feature.name, type(self.feature).advance, len(self.outputs))

    @cached_property
    def params(self) -> Floats:
        """The feature's options, as the step reads them."""
        return np.array(self.feature.params, dtype=np.float64)

    def new_state(self, symbols: int) -> State:
        """Return the initial state of a number of symbols."""
        return new_state(self.feature.state_size, symbols)

    def named(self, values: FloatPanel) -> Mapping[str, FloatPanel]:
        """Return outputs (output, time, symbol) by their names."""
        return dict(zip(self.outputs, values, strict=True))

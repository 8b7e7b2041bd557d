"""Features: named, causal transformations of panels, computed once and shared."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from weft.components.base import Component
from weft.foundation.arrays import FloatPanel, Floats

if TYPE_CHECKING:
    from weft.market.view import View


class Bar(NamedTuple):
    """One candle, as a step gets it."""

    time: int
    """Close of the candle, microseconds since 1970."""
    open: float
    high: float
    low: float
    close: float
    volume: float


Step: TypeAlias = Callable[[Floats, Bar, Floats, Floats], None]


class Feature(Component):
    """Base of the two kinds of features; derive from `PanelFeature` or `StepFeature`.

    Attributes:
        outputs: names of its panels; the first is the default of `View.feature`.
    """

    kind: ClassVar[str] = "feature"
    outputs: ClassVar[tuple[str, ...]]


class PanelFeature(Feature):
    """A feature computed with array arithmetic over a declared warm-up."""

    @abstractmethod
    def compute(self, view: "View") -> Mapping[str, FloatPanel]:
        """Return one (steps, symbol) panel for each name in `outputs`."""


class StepFeature(Feature):
    """A feature computed by an O(1) step on a small state.

    History loops the step over a panel; live composition calls it for each new candle. Both run
    the same compiled code from the same first row, so they agree to the last bit.

    The state starts as zeros. Missing candles never reach the step.

    For speed, count the candles in `state[0]`: symbols with the same count step together. Read
    each cell into a variable once, unconditionally, and before writing it; choose between
    variables (``a if ready else b``), not between reads.

    The compiled step checks no index: an index beyond `state_size`, the number of params or of
    outputs corrupts memory. `weft.testing` runs the step with checks first.

    Attributes:
        advance: the step, decorated with `step`. Its arguments are the symbol's state, the
            candle as a `Bar`, the options, and a cell to fill for each output; all but the candle
            are one-dimensional float64 arrays. It fills every output, does not change the options,
            and writes NaN instead of raising.
    """

    advance: ClassVar[Any]

    @property
    @abstractmethod
    def warmup(self) -> int:
        """Candles after which the first row no longer affects the outputs (to 1e-13)."""

    @property
    @abstractmethod
    def state_size(self) -> int:
        """Number of float64 cells of state for one symbol."""

    @property
    def params(self) -> tuple[float, ...]:
        """Options of the step, as floats."""
        return ()


def step(function: Step) -> Any:  # noqa: ANN401  # a numba dispatcher; numba publishes no types
    """Compile a step function; use it as a decorator inside a `StepFeature`.

    Division follows IEEE rules, as in NumPy: a zero divisor gives inf or NaN and raises nothing.
    """
    from numba import njit  # noqa: PLC0415  # numba takes a quarter of a second to import

    return staticmethod(njit(error_model="numpy")(function))


def ema_memory(window: float) -> int:
    """Return the candles after which the start of an EMA of `window` weighs less than 1e-13.

    After n candles it weighs (1 - 2 / (window + 1)) ** n.
    """
    return int(15.0 * (window + 1)) + 1


def wilder_memory(window: float) -> int:
    """Return the candles after which the start of Wilder's average weighs less than 1e-13.

    After n candles it weighs (1 - 1 / window) ** n.
    """
    return int(30.0 * window) + 1

"""Features: named, causal transformations of panels, computed once and shared by all."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from weft.components.base import Component
from weft.foundation.arrays import FloatPanel, Floats

if TYPE_CHECKING:
    from weft.market.view import View


class Bar(NamedTuple):
    """One candle as a step sees it."""

    time: int
    """Close of the candle, microseconds since 1970."""
    open: float
    high: float
    low: float
    close: float
    volume: float


Step: TypeAlias = Callable[[Floats, Bar, Floats, Floats], None]


class Feature(Component):
    """Base of both sorts of features; derive from `PanelFeature` or `StepFeature`.

    Attributes:
        outputs: names of the panels it gives; the first is the one meant when none is named.
    """

    kind: ClassVar[str] = "feature"
    outputs: ClassVar[tuple[str, ...]]


class PanelFeature(Feature):
    """A feature given by array arithmetic over a declared warm-up."""

    @abstractmethod
    def compute(self, view: "View") -> Mapping[str, FloatPanel]:
        """Return one (steps, symbol) panel for each name in `outputs`."""


class StepFeature(Feature):
    """A feature given by one O(1) step on a small state.

    History loops the step over a panel; live composition calls it once a candle. Both run the
    same compiled code from the same starting row, so they agree to the last bit.

    A state of zeros means that nothing has been seen yet. Missing candles never reach the step.

    To be fast, count the candles taken in `state[0]`: symbols side by side take their step
    together where that cell is the same. Read each cell into a variable once, always, and before
    it is written; choose between variables afterwards (``a if ready else b``), not between reads.

    The compiled step checks no index. One that is not below `state_size`, or the number of params
    or of outputs, corrupts memory; `weft.testing` runs the step with checks first.

    Attributes:
        advance: the step, decorated with `step`. It takes the symbol's state, the candle, the
            options as floats, and one cell per output to fill; all four are one-dimensional
            float64 arrays but the candle, which is a `Bar`. It must fill every output, leave
            the options as they are, and give NaN rather than raise.
    """

    advance: ClassVar[Any]

    @property
    @abstractmethod
    def warmup(self) -> int:
        """Candles after which the starting row no longer shows in the outputs (to 1e-13)."""

    @property
    @abstractmethod
    def state_size(self) -> int:
        """Number of float64 cells of state for one symbol."""

    @property
    def params(self) -> tuple[float, ...]:
        """The options the step reads, as floats."""
        return ()


def step(function: Step) -> Any:  # noqa: ANN401  # a numba dispatcher; numba publishes no types
    """Compile a step function; use it as a decorator inside a `StepFeature`.

    Division follows IEEE rules, as in NumPy: a zero divisor gives inf or NaN and raises nothing.
    """
    from numba import njit  # noqa: PLC0415  # numba takes a quarter of a second to import

    return staticmethod(njit(error_model="numpy")(function))


def ema_memory(window: float) -> int:
    """Return after how many candles an EMA of `window` has forgotten its start (to 1e-13).

    The weight of the start decays as (1 - 2 / (window + 1)) ** n.
    """
    return int(15.0 * (window + 1)) + 1


def wilder_memory(window: float) -> int:
    """Return after how many candles Wilder's average has forgotten its start (to 1e-13).

    The weight of the start decays as (1 - 1 / window) ** n.
    """
    return int(30.0 * window) + 1

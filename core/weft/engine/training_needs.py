"""Requirements of training: rows of history, and training time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from weft.foundation.errors import TrainingError
from weft.foundation.times import Interval, iso
from weft.learning.judging import FEWEST_SPANS
from weft.learning.records import TRAINING

if TYPE_CHECKING:
    from weft.engine.engine import Engine

INTERVALS: Final = tuple(Interval.parse(text) for text in ("1m", "5m", "15m", "1h", "4h"))
CANDLES: Final = (500, 1_000, 2_000, 5_000, 10_000, 20_000)


@dataclass(frozen=True, slots=True)
class Requirement:
    """Requirements of the training of a component.

    Attributes:
        key: its key in config.
        least_rows: smallest number of rows for a training.
        most_rows: largest number of rows; older ones are left out.
        rows: available decision rows.
        ready: whether it can be trained now.
        note: the rows that a training would use; or why it cannot be trained, and from when on.
        seconds_per_row: of the latest training on this machine, or the component's estimate.
        measured: whether `seconds_per_row` was measured here.
    """

    key: str
    least_rows: int
    most_rows: int
    rows: int
    ready: bool
    note: str
    seconds_per_row: float
    measured: bool

    def seconds(self, candles: int) -> float:
        """Return the estimated duration of a training on a number of candles, in seconds."""
        return min(candles, self.most_rows) * self.seconds_per_row


def requirements(engine: "Engine") -> list[Requirement]:
    """Return the requirements of each trained component of an engine, by key in config."""
    last = engine.latest_close()
    trainings = engine.ledger.notes(TRAINING)
    rows = []
    for key, component in sorted(engine.composition.trained.items()):
        earlier = [entry.body for entry in trainings if entry.symbol == key]
        try:
            span = engine.trainer.span(key, last)
        except TrainingError as error:
            ready, note = False, error.message
        else:
            ready = True
            note = (
                f"would train on {span.rows:,} rows through {iso(span.trained_to)} and be judged "
                f"on the {span.shadow_rows:,} after them"
            )
            spans = span.shadow_rows // engine.composition.horizon_candles
            if spans < FEWEST_SPANS:
                note += f": {spans} horizons, of {FEWEST_SPANS} from which on it is trusted at all"
        pace = component.seconds_per_row
        if earlier:
            pace = earlier[-1]["seconds"] / earlier[-1]["figures"]["rows"]
        rows.append(
            Requirement(
                key=key,
                least_rows=component.least_rows,
                most_rows=component.most_rows,
                rows=engine.market.rows_until(last),
                ready=ready,
                note=note,
                seconds_per_row=pace,
                measured=bool(earlier),
            )
        )
    return rows

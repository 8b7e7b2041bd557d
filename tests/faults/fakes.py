"""What the writer that is killed and the test that kills it agree on."""

from tests.support import sample_signal
from weft.domain.signal import Signal

BATCH = 40
"""Rows in one commit."""

HOUR_MICROS = 3_600_000_000


def a_signal(symbol: str, batch: int) -> Signal:
    """Return a signal whose score tells its batch."""
    return sample_signal(symbol=symbol, score=float(batch))

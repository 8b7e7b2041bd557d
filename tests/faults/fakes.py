"""What the writer that is killed and the test that kills it agree on."""

from weft.signal import DataNote, Direction, Signal, Versions, with_id

BATCH = 40
"""Rows in one commit."""

HOUR_MICROS = 3_600_000_000


def a_signal(symbol: str, batch: int) -> Signal:
    """Return a signal whose score tells its batch."""
    return with_id(
        Signal(
            id="",
            symbol=symbol,
            as_of="2026-01-01T00:00:00Z",
            interval="1h",
            horizon="12h",
            direction=Direction.NEUTRAL,
            score=float(batch),
            confidence=0.0,
            calibrated=False,
            entry=1.0,
            stop_loss=None,
            take_profit=None,
            risk_reward=None,
            position_size=0.0,
            layers=(),
            missing_layers={},
            data=DataNote("synthetic", "test", "live", None, None, 1.0),
            versions=Versions("0", "0", {}, {}),
        )
    )

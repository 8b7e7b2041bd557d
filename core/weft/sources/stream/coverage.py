"""From when to when a stream was up, without a moment in which something could be missed."""

from collections import deque

_REMEMBERED = 32


class Coverage:
    """Remembers the latest stretches of time in which the stream was up.

    A stretch ends when the connection was heard for the last time, not when it was found dead.
    """

    def __init__(self) -> None:
        self._stretches: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._broken: deque[int] = deque(maxlen=_REMEMBERED)
        self._since: int | None = None

    @property
    def since(self) -> int | None:
        """Since when it has been up; None while it is down."""
        return self._since

    def up(self, at: int) -> None:
        """Say that everything from an instant on is heard."""
        if self._since is None:
            self._since = at

    def down(self, at: int) -> None:
        """Say that nothing after an instant may have been heard."""
        if self._since is not None:
            self._stretches.append((self._since, max(at, self._since)))
            self._since = None

    def broken(self, at: int) -> None:
        """Say that at an instant something came that could not be read."""
        self._broken.append(at)

    def whole(self, first: int, last: int) -> bool:
        """Whether all of a stretch of time was heard, from `first` to before `last`."""
        if any(first <= at < last for at in self._broken):
            return False
        if self._since is not None and self._since <= first:
            return True
        return any(since <= first and last <= until for since, until in self._stretches)

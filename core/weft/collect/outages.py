"""Log when something goes down and when it is back, and not at every attempt in between."""

import logging
from datetime import timedelta


class Outages:
    """What is down, and since when.

    Args:
        log: receives one warning when an outage begins, with the reason, and one when it ends,
            with how long it lasted.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._since: dict[str, int] = {}

    def note(self, subject: str, error: str | None, now: int) -> bool:
        """Note the result of an attempt; return whether an outage begins with it.

        Args:
            subject: what was tried, such as ``provider binance``.
            error: why the attempt failed; None where it succeeded.
            now: present instant, microseconds since 1970.
        """
        if error is None:
            since = self._since.pop(subject, None)
            if since is not None:
                lasted = timedelta(seconds=(now - since) // 1_000_000)
                self._log.warning("%s: back after %s", subject, lasted)
            return False
        begins = subject not in self._since
        if begins:
            self._since[subject] = now
            self._log.warning("%s: down: %s", subject, error.removeprefix(f"{subject}: "))
        return begins

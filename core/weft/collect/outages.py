"""Logs the begin and the end of outages, not every failed attempt in between."""

import logging
from collections.abc import Mapping
from datetime import timedelta

from weft.foundation.times import SECOND


class Outages:
    """Outages by subject. Thread-safe only if each subject is used from one thread.

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
            subject: the part that was tried, such as ``provider binance``.
            error: why the attempt failed; None if it succeeded.
            now: present time, microseconds since 1970.
        """
        if error is None:
            since = self._since.pop(subject, None)
            if since is not None:
                lasted = timedelta(seconds=(now - since) // SECOND)
                self._log.warning("%s: back after %s", subject, lasted)
            return False
        begins = subject not in self._since
        if begins:
            self._since[subject] = now
            self._log.warning("%s: down: %s", subject, error.removeprefix(f"{subject}: "))
        return begins

    def update(self, kind: str, errors: Mapping[str, str], now: int) -> None:
        """Note the state of all parts of a kind, such as all layers.

        Args:
            kind: the kind, such as ``layer``.
            errors: reasons of the failures by name; all other parts of the kind work.
            now: present time, microseconds since 1970.
        """
        failing = {f"{kind} {name}": why for name, why in errors.items()}
        recovered = [s for s in self._since if s.startswith(f"{kind} ") and s not in failing]
        for subject in sorted(recovered):
            self.note(subject, None, now)
        for subject, why in sorted(failing.items()):
            self.note(subject, why, now)

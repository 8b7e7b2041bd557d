"""All that is logged in a stretch of code."""

import logging
from typing import Self


class LogLines(logging.Handler):
    """Keeps everything that is logged while it is entered, whoever logs it and how quietly."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._level = logging.WARNING
        self.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, its arguments and its traceback."""
        self.lines.append(self.format(record))

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        root.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)

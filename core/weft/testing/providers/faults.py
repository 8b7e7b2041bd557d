"""Checks of a provider whose source refuses, fails or gives malformed answers."""

import logging
import re
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import orjson
from pydantic import SecretStr

from weft.foundation.errors import ProviderError
from weft.foundation.times import SECOND
from weft.sources.http import (
    BannedError,
    ForbiddenError,
    MalformedError,
    NotCoveredError,
    RateLimitedError,
    RefusedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
    UnlistedSymbolError,
)
from weft.sources.http.connection import Reply
from weft.testing.providers.case import ProviderCase
from weft.testing.providers.checks import sound
from weft.testing.providers.fetching import (
    Fetched,
    fetch,
    key_of,
    new_tap,
    require_fine,
    require_part,
)
from weft.testing.providers.spoiling import (
    FIELD_CHANGES,
    answering,
    emptied,
    field_names,
    field_spoilt,
    only_first,
    rewritten,
)
from weft.testing.providers.wiretap import Ask, Spoil
from weft.testing.report import require

CANARY: Final = "canary/5e+c7=e1%7"
"""A key with characters that have several spellings in URLs and JSON."""

_STANDING = (UnlistedSymbolError, NotCoveredError, RefusedError)
_MEANINGS: Final[dict[int, tuple[type[SourceError], ...]]] = {
    400: (*_STANDING, UnauthorisedError),
    401: (UnauthorisedError,),
    402: (NotCoveredError,),
    403: (ForbiddenError, NotCoveredError, RateLimitedError, UnauthorisedError),
    404: _STANDING,
    418: (BannedError,),
    429: (RateLimitedError,),
    451: (ForbiddenError, UnlistedSymbolError),
    500: (UnavailableError,),
    502: (UnavailableError,),
    503: (UnavailableError,),
    504: (UnavailableError,),
}
_NEVER_AGAIN = (400, 401, 402, 404, 418, 451)
_WAIT_SECONDS = 7
_MOST_FIELDS = 60


def refusals_are_typed(case: ProviderCase) -> None:
    """Each refusal raises its class of `weft.sources.http.errors`; standing ones only once."""
    for status, usual in _MEANINGS.items():
        web = case.build().web
        banned = web.ban_statuses if web else ()
        kinds = (BannedError,) if status in banned else usual
        kinds = _STANDING if status == 418 and status not in banned else kinds
        refused = fetch(case, tap=new_tap(case, spoil=answering(status, b'{"error": "no"}')))
        if refused.error is None:
            standing = any(issubclass(kind, _STANDING) for kind in kinds)
            require(standing and bool(refused.problems), f"HTTP {status} raises nothing")
        else:
            names = " or ".join(kind.__name__ for kind in kinds)
            error = f"{type(refused.error).__name__}: {refused.error}"
            require(isinstance(refused.error, kinds), f"HTTP {status} raises {error}, not {names}")
        require(not refused.rows, f"HTTP {status} gives rows")
        if status in _NEVER_AGAIN:
            retries = refused.status.retries if refused.status else 0
            require(not retries, f"HTTP {status} is retried")


def passing_trouble_passes(case: ProviderCase) -> None:
    """The provider waits as long as Retry-After says, and one 429 or 503 changes no row."""
    clean = sound(case)
    headers = {"retry-after": str(_WAIT_SECONDS)}
    for status in (429, 503):
        tap = new_tap(case, spoil=only_first(answering(status, b"", headers)))
        fetched = fetch(case, tap=tap)
        require_fine(fetched, f"after one HTTP {status}")
        waited = (fetched.ended - fetched.began) / SECOND
        require(waited >= _WAIT_SECONDS, f"HTTP {status}: waited {waited:g} s of {_WAIT_SECONDS}")
        require_part(clean.lasting, fetched.rows, f"after one HTTP {status}", "are missing")


def what_is_no_data_is_typed(case: ProviderCase) -> None:
    """HTML, cut, broken or empty bodies raise a MalformedError, and give no rows."""
    clean = sound(case)
    for what, spoil in {
        "half an answer": lambda _, reply: replace(reply, body=reply.body[: len(reply.body) // 2]),
        "a page": answering(200, b"<!doctype html><html><body>Log in</body></html>"),
        "broken JSON": answering(200, b'{"data": [1, 2'),
        "no bytes": answering(200, b""),
    }.items():
        fetched = fetch(case, tap=new_tap(case, spoil=spoil))
        error = f"{type(fetched.error).__name__}: {fetched.error}"
        # Half a feed may still hold complete entries.
        typed = isinstance(fetched.error, MalformedError) or bool(
            fetched.error is None and (fetched.problems or what == "half an answer")
        )
        require(typed, f"{what} raises {error}")
        if what == "half an answer" and fetched.error is None:
            require_part(fetched.rows, clean.rows, f"in {what}")
        else:
            require(not fetched.rows, f"{what} gives rows")


def other_forms_are_typed(case: ProviderCase) -> None:
    """JSON of another form gives no rows, and a typed error or none."""
    forms = (b"{}", b"[]", b"null", b"0", b'"x"', b"[null]", b"[[]]", b"[{}]", b'{"data": null}')
    for form in forms:
        fetched = fetch(case, tap=new_tap(case, spoil=answering(200, form)))
        _require_typed(fetched, f"an answer of {form.decode()}")
        require(not fetched.rows, f"an answer of {form.decode()} gives rows")


def empty_answers_are_fine(case: ProviderCase) -> None:
    """Lists without records give no rows, and no error but one about the form."""
    clean, changed = sound(case), []

    def empty(_: Ask, reply: Reply) -> Reply:
        body = rewritten(reply.body, emptied)
        changed.append(body != reply.body)
        return replace(reply, body=body)

    fetched = fetch(case, tap=new_tap(case, spoil=empty))
    _require_typed(fetched, "empty lists")
    require_part(fetched.rows, clean.rows, "with empty lists")
    if all(changed):
        require(not fetched.rows, "empty lists give rows")


def every_field_counts(case: ProviderCase) -> None:
    """A field that is renamed, null or of another type gives true rows or a typed error."""
    memory: dict[Ask, Reply] = {}
    clean = fetch(case, tap=new_tap(case, memory=memory))
    require_fine(clean, "from a source that works")
    for field in field_names(memory)[:_MOST_FIELDS]:
        used = False
        for what, change in FIELD_CHANGES.items():
            if what != "renamed" and not used:
                break
            spoil = field_spoilt(field, change)
            fetched = fetch(case, tap=new_tap(case, memory=memory, spoil=spoil))
            when = f"where the field {field!r} is {what}"
            error = fetched.error
            problem = f"{type(error).__name__} {when}: {error}"
            require(error is None or isinstance(error, ProviderError), problem)
            facts = {key_of(row) for row in clean.rows}
            # Records that lost the field of their entity may give rows about something else.
            require_part({r for r in fetched.rows if key_of(r) in facts}, clean.rows, when)
            used = used or error is not None or fetched.rows != clean.rows
            other = {key_of(row) for row in fetched.rows} - facts
            require(not other, f"rows about something else {when}: {sorted(other)[:2]}")


def key_stays_secret(case: ProviderCase) -> None:
    """The key is in no error, problem, log line, status, repr or cached answer."""
    echo = orjson.dumps({"error": f"bad key {CANARY}", "message": CANARY, "code": CANARY})
    answers: dict[str, Spoil | None] = {
        "sound": None,
        **{f"HTTP {status}": answering(status, echo) for status in _MEANINGS},
        "an echo": answering(200, echo),
        "a cut echo": answering(200, echo[:-5]),
    }
    options = {"api_key": SecretStr(case.key_form.format(CANARY))}
    with TemporaryDirectory(prefix="weft-check-") as folder, LogLines() as log:
        for what, spoil in answers.items():
            provider, status = case.build(**options), what.startswith("HTTP")
            tap = new_tap(case, spoil=spoil)
            fetched = fetch(case, provider, tap, cache=None if status else Path(folder))
            texts = [*_texts(fetched), repr(provider), repr(provider.config), str(vars(provider))]
            _require_no_key("\n".join(texts), f"the problems, errors or reprs of {what}")
            _require_no_key("\n".join(log.lines), f"the log of {what}")
            require(
                all(CANARY not in ask.url for ask in fetched.asked),
                "the key is in the URL",
            )
        cached = b"".join(p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file())
        _require_no_key(cached.decode("latin-1"), "cached answers")


def _texts(fetched: Fetched) -> Iterator[str]:
    yield from fetched.problems
    yield from fetched.refused
    yield repr(fetched.status)
    if fetched.error is not None:
        yield from traceback.format_exception(fetched.error)
        yield repr(fetched.error)
        yield repr(vars(fetched.error))


def _require_no_key(text: str, where: str) -> None:
    spelled = "".join(f"(?:{re.escape(c)}|%{ord(c):02x})" for c in CANARY)
    match = re.search(spelled, text, re.IGNORECASE)
    if match:
        excerpt = text[max(0, match.start() - 80) :][:120]
        raise AssertionError(f"the key is in {where}: {excerpt}")


def _require_typed(fetched: Fetched, when: str) -> None:
    error = fetched.error
    kind = type(error).__name__
    require(error is None or isinstance(error, ProviderError), f"{kind} after {when}: {error}")
    wrong = isinstance(error, UnavailableError | UnauthorisedError | RateLimitedError)
    require(not wrong, f"{when} raises {kind}: {error}")


class LogLines(logging.Handler):
    """Collects every line that is logged in its context, at any level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._level = logging.WARNING
        self.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Collect a record with its arguments and its traceback."""
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

"""The client that a provider asks through."""

import random
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlencode

import orjson
from pydantic import SecretStr

from weft.foundation.clock import Clock
from weft.foundation.times import SECOND
from weft.sources.http.api import Api
from weft.sources.http.cache import (
    CachedResponse,
    Note,
    ResponseCache,
    StandingNotes,
    StandingRefusals,
)
from weft.sources.http.connection import Connection, check_base, check_key
from weft.sources.http.errors import (
    BannedError,
    RateLimitedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
)
from weft.sources.http.limits import Limiter
from weft.sources.http.redact import LogRedaction, Redactor
from weft.sources.http.request import Form, HttpRequest, Params, cache_key, describe, make_url
from weft.sources.http.response import (
    LONGEST_ON_THE_WAY_SECONDS,
    HttpResponse,
    ParsedResponse,
    ResponseParser,
)
from weft.sources.http.retry import Breaker, Deadline, Retries
from weft.sources.http.status import SourceCounters, SourceStatus

_LONGEST_USUAL_PAUSE_SECONDS = 60.0
_KEY, _PAUSE = "key", "pause"
"""Names of the notes about a refused key, and about a pause longer than the usual ones."""


class Http:
    """Asks one source, within its limits, and keeps its key out of sight.

    Use it as an async context manager, or call `aclose`. One instance serves one provider and all
    its tasks; the cache may be shared.

    Args:
        api: what the provider declares.
        name: the provider, for messages and status.
        clock: tells the time, and waits.
        rng: draws the pauses between attempts; seeded by whoever builds it.
        key: sent as the api says; an empty one counts as none.
        base_url: where the options name another place than the api.
        cache: keeps the answers of requests with a ttl, and bans and standing refusals for the
            processes after this one; nothing is kept where None.
        tls: whom to trust; the public authorities where None. Proxies and certificates named in
            the environment are ignored.

    Raises:
        ConfigError: the address or the key cannot be one.
    """

    def __init__(
        self,
        api: Api,
        *,
        name: str,
        clock: Clock,
        rng: random.Random,
        key: SecretStr | None = None,
        base_url: str | None = None,
        cache: ResponseCache | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._api = api
        self._name = name
        self._clock = clock
        self._rng = rng
        self._cache = cache
        key = check_key(name, key) if api.key else None
        self._redact = Redactor([key] if key else [])
        self._base = check_base(name, base_url or api.base_url, key)
        self._limiter = Limiter(name, api, clock)
        self._breaker = Breaker(name, api, clock)
        self._retries = Retries(api, clock, rng)
        self._understanding = ResponseParser(name, api, self._redact)
        notes = StandingNotes(None, clock) if cache is None else cache.notes(name, clock)
        self._standing = StandingRefusals(notes, self._base.host, key)
        self._tally = SourceCounters()
        self._limited_in_a_row = 0
        self._wire = Connection(name, api, self._base, key, tls, self._redact)
        self._logs = ExitStack()
        self._logs.enter_context(LogRedaction(self._redact))
        self._resume()

    async def get(
        self,
        path: str,
        *,
        params: Params | None = None,
        ttl: float | None = None,
        cost: int = 1,
        group: str = "",
        headers: Mapping[str, str] | None = None,
        form: Form = "json",
    ) -> HttpResponse:
        """Return the answer to a GET.

        Args:
            path: below the base address, beginning with a slash.
            params: of the query; those that are None are left out.
            ttl: seconds an answer may be old. One that is older is confirmed or fetched anew; if
                that fails for a passing reason, it stands in, marked stale. None keeps nothing.
                What a cache on the way kept for longer is given out marked stale as well.
            cost: units it takes of the rate limits.
            group: which of the limits for a group of requests alone counts it.
            headers: besides the usual ones.
            form: ``bytes`` for a feed or CSV, to be read from the answer's text or body.

        Raises:
            SourceError: one of the tree in `weft.sources.http.errors`.
            ValueError: the path or the cost cannot be one.
        """
        asked = self._asked("GET", path, params, None, headers, ttl, cost, form)
        return await self._ask(replace(asked, group=group))

    async def post(
        self,
        path: str,
        *,
        json: Any = None,  # noqa: ANN401  # JSON
        fields: Mapping[str, str] | None = None,
        params: Params | None = None,
        ttl: float | None = None,
        cost: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Return the answer to a query sent as JSON, for GraphQL and the like, or as a form.

        It is retried as a GET is, so it must not change anything at the source.

        Args:
            path: below the base address, beginning with a slash.
            json: the body; left out where `fields` are given.
            fields: the body as a form, as tokens are asked for.
            params: of the query; those that are None are left out.
            ttl: seconds an answer may be old, as for `get`.
            cost: units it takes of the rate limits.
            headers: besides the usual ones.

        Raises:
            SourceError: one of the tree in `weft.sources.http.errors`.
            ValueError: the path or the cost cannot be one.
        """
        if fields is None:
            content, kind = orjson.dumps(json), "application/json"
        else:
            content, kind = urlencode(fields).encode(), "application/x-www-form-urlencoded"
        own = {"content-type": kind, **(headers or {})}
        return await self._ask(self._asked("POST", path, params, content, own, ttl, cost, "json"))

    def elsewhere(self, api: Api, key: SecretStr | None = None) -> "Http":
        """Return a client of another host of the same source; whoever asks for it closes it.

        It has limits and a circuit breaker of its own. It keeps its answers where this one does,
        and what it does counts in this one's status.

        Args:
            api: what is at that host.
            key: sent there as the api says; this client's own key goes to no other host.

        Raises:
            ConfigError: the address or the key cannot be one.
        """
        other = Http(
            api, name=self._name, clock=self._clock, rng=self._rng, key=key, cache=self._cache
        )
        # One source, one status.
        other._tally = self._tally
        return other

    def status(self) -> SourceStatus:
        """Return how the source is doing."""
        return self._tally.show(
            self._name, self._breaker.cause, self._limiter.left(), self._retries.made
        )

    def refusal(self, name: str) -> Note | None:
        """Return the standing refusal noted under a name; None where none holds."""
        return self._standing.get(f"refused {name}")

    def note_refusal(self, name: str, text: str, seconds: float) -> None:
        """Keep a standing refusal, for the processes after this one as well.

        Args:
            name: what was refused, as `refusal` is asked for it.
            text: why, for people.
            seconds: how long it is taken to stand.
        """
        self._standing.put(f"refused {name}", Note(self._after(seconds), self._redact(text)))

    def note(self, error: SourceError) -> None:
        """Let status show an error that was met while reading an answer."""
        self._tally.failed(error)

    async def aclose(self) -> None:
        """Close the connections. The cache stays open: whoever made it closes it."""
        self._logs.close()
        await self._wire.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Http({self._name!r}, {str(self._base)!r})"

    def _asked(
        self,
        method: Literal["GET", "POST"],
        path: str,
        params: Params | None,
        content: bytes | None,
        headers: Mapping[str, str] | None,
        ttl: float | None,
        cost: int,
        form: Form,
    ) -> HttpRequest:
        url, headers = make_url(self._base, path, params), headers or {}
        what = describe(method, url, self._redact)
        keeps = self._cache is not None and ttl is not None
        key = cache_key(method, url, content, headers, form, self._redact) if keeps else ""
        return HttpRequest(method, url, content, headers, ttl, cost, form, what, key)

    async def _ask(self, asked: HttpRequest) -> HttpResponse:
        self._tally.requests += 1
        known = await self._known(asked)
        if known and asked.ttl is not None and self._is_fresh(known.kept, asked.ttl):
            self._tally.cache_hits += 1
            return self._answer(asked, known)
        try:
            taken = await self._retries.run(partial(self._attempt, asked, known))
        except SourceError as error:
            self._tally.failed(error)
            if known is None or not error.temporary or not self._may_stand_in(asked, known.kept):
                raise
            return self._answer(asked, known, bridged=True)
        # A body that echoes the key must not reach the disk.
        if self._cache and asked.ttl is not None and not self._redact.found_in(taken.kept.body):
            await self._cache.put(asked.cache_key, taken.kept)
        return self._answer(asked, taken)

    async def _known(self, asked: HttpRequest) -> ParsedResponse | None:
        if self._cache is None or asked.ttl is None:
            return None
        return self._understanding.recall(asked, await self._cache.get(asked.cache_key))

    async def _attempt(
        self, asked: HttpRequest, known: ParsedResponse | None, deadline: Deadline
    ) -> ParsedResponse:
        self._breaker.check()
        headers = {**asked.headers, **(_conditions(known.kept) if known else {})}
        request = self._wire.build(asked.method, asked.url, asked.content, headers)
        async with self._limiter.turn(asked.cost, asked.group):
            with self._breaker.passage():
                began = self._clock.now()
                reply = await self._wire.send(request, asked.what, deadline)
                now = self._clock.now()
                self._limiter.learn(reply.headers)
                try:
                    taken = self._understanding.understand(asked, known, reply, now)
                except SourceError as error:
                    self._remember(error)
                    raise
        # An answer that was on its way when the key was refused says nothing about the key.
        if self._breaker.cause is None:
            self._standing.drop(_KEY)
        self._limited_in_a_row = 0
        self._tally.latencies.append((now - began) / SECOND)
        self._tally.succeeded(now)
        return taken

    def _resume(self) -> None:
        """Keep to what an earlier process was told."""
        if (ban := self._standing.ban) is not None:
            self._breaker.resume(BannedError(ban.text, where=self._name), ban.until)
        elif (refused := self._standing.get(_KEY)) is not None:
            cause = UnauthorisedError(refused.text, where=self._name)
            self._breaker.resume(cause, refused.until)
        if (pause := self._standing.get(_PAUSE)) is not None:
            self._limiter.pause((pause.until - self._clock.now()) / SECOND)

    def _remember(self, error: SourceError) -> None:
        """Keep to what the source asks for, and let later processes do so."""
        seconds = error.retry_after_seconds
        if isinstance(error, BannedError):
            until = self._after(seconds or self._api.ban_seconds)
            self._standing.ban = Note(until, error.message)
        elif isinstance(error, UnauthorisedError):
            until = self._after(self._api.refused_key_seconds)
            self._standing.put(_KEY, Note(until, error.message))
        elif isinstance(error, RateLimitedError | UnavailableError):
            if seconds is not None and seconds > _LONGEST_USUAL_PAUSE_SECONDS:
                self._standing.put(_PAUSE, Note(self._after(seconds), error.message))
            self._hold_back(error)

    def _after(self, seconds: float) -> int:
        return self._clock.now() + int(seconds * SECOND)

    def _hold_back(self, error: RateLimitedError | UnavailableError) -> None:
        """Make everybody wait: a limit is the source's, not the request's."""
        seconds = error.retry_after_seconds
        if seconds is None and isinstance(error, RateLimitedError):
            seconds = self._usual_pause()
        self._limiter.pause(seconds or 0)

    def _usual_pause(self) -> float:
        self._limited_in_a_row += 1
        longest = min(_LONGEST_USUAL_PAUSE_SECONDS, 2.0 ** min(self._limited_in_a_row, 20))
        return self._rng.uniform(longest / 2, longest)

    def _age(self, kept: CachedResponse) -> float:
        return max(0, self._clock.now() - kept.fetched_at) / SECOND + kept.added_age_seconds

    def _is_fresh(self, kept: CachedResponse, ttl: float) -> bool:
        # Kept in the future means that a clock was set back: its age is unknown.
        return kept.fetched_at <= self._clock.now() and self._age(kept) < ttl

    def _may_stand_in(self, asked: HttpRequest, kept: CachedResponse) -> bool:
        return self._age(kept) <= (asked.ttl or 0) + self._api.stale_seconds

    def _answer(
        self, asked: HttpRequest, taken: ParsedResponse, *, bridged: bool = False
    ) -> HttpResponse:
        kept, age = taken.kept, self._age(taken.kept)
        longest = LONGEST_ON_THE_WAY_SECONDS if asked.ttl is None else asked.ttl
        stale = bridged or age > longest
        self._tally.stale += stale
        return HttpResponse(
            where=self._name,
            what=asked.what,
            headers=kept.headers,
            body=kept.body,
            json=taken.parsed,
            fetched_at=kept.fetched_at,
            age_seconds=age,
            added_age_seconds=kept.added_age_seconds,
            stale=stale,
            not_modified=taken.not_modified,
            unchanged_since=kept.unchanged_since,
            redact=self._redact,
        )


def _conditions(kept: CachedResponse) -> dict[str, str]:
    pairs = {"if-none-match": "etag", "if-modified-since": "last-modified"}
    return {ask: kept.headers[told] for ask, told in pairs.items() if told in kept.headers}

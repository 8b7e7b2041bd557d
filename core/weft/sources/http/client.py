"""The HTTP client of one provider."""

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
    """Sends requests to one source, within its rate limits and without exposing its key.

    Use it as an async context manager, or call `aclose`. One instance serves one provider and all
    its tasks; several instances may share a cache. Example::

        api = Api("https://api.example.com", limits=(RateLimit(60, 60),))
        async with Http(api, name="example", clock=SystemClock(), rng=random.Random(1)) as http:
            response = await http.get("/v1/price", params={"symbol": "BTC"}, ttl=60)
            price = response.read.number("data", "price")

    Args:
        api: the API, as the provider declares it.
        name: name of the provider, for messages and status.
        clock: current time, and waiting.
        rng: draws the pauses between attempts.
        key: API key, sent as `Api.key` states; an empty key counts as none.
        base_url: address to use instead of `Api.base_url`.
        cache: stores responses of requests with a ttl, and bans and refusals for later processes;
            None stores nothing.
        tls: trusted certificates; None for the public authorities. Proxies and certificates named
            in the environment are ignored.

    Raises:
        ConfigError: the address is no http(s) URL, or the key has impossible characters.
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
        self._parser = ResponseParser(name, api, self._redact)
        notes = StandingNotes(None, clock) if cache is None else cache.notes(name, clock)
        self._refusals = StandingRefusals(notes, self._base.host, key)
        self._counters = SourceCounters()
        self._limited_in_a_row = 0
        self._connection = Connection(name, api, self._base, key, tls, self._redact)
        self._log_redaction = ExitStack()
        self._log_redaction.enter_context(LogRedaction(self._redact))
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
        """Send a GET request and return the response.

        Args:
            path: path below the base address, beginning with a slash.
            params: query parameters; None values are left out.
            ttl: greatest age of a cached response in seconds. An older one is revalidated or
                fetched again; if that fails for a temporary reason, the older response is returned
                with `HttpResponse.stale` set. None: no caching.
            cost: units of the rate limits that the request takes.
            group: group of the request, for rate limits with `RateLimit.only`.
            headers: headers beside the usual ones.
            form: ``bytes`` for a feed or CSV, read from the response's `text` or `body`.

        Raises:
            SourceError: a subclass from `weft.sources.http.errors` states the reason.
            ValueError: the path has no leading slash or has a query, or the cost exceeds a limit.
        """
        request = self._build("GET", path, params, None, headers, ttl, cost, form)
        return await self._respond(replace(request, group=group))

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
        """Send a query as JSON (GraphQL and the like) or as a form, and return the response.

        The request is retried as a GET request is, so it must not change anything at the source.

        Args:
            path: path below the base address, beginning with a slash.
            json: JSON body; ignored if `fields` are given.
            fields: body as a form, for instance to request a token.
            params: query parameters; None values are left out.
            ttl: greatest age of a cached response in seconds, as for `get`.
            cost: units of the rate limits that the request takes.
            headers: headers beside the usual ones.

        Raises:
            SourceError: a subclass from `weft.sources.http.errors` states the reason.
            ValueError: the path has no leading slash or has a query, or the cost exceeds a limit.
        """
        if fields is None:
            content, kind = orjson.dumps(json), "application/json"
        else:
            content, kind = urlencode(fields).encode(), "application/x-www-form-urlencoded"
        headers = {"content-type": kind, **(headers or {})}
        request = self._build("POST", path, params, content, headers, ttl, cost, "json")
        return await self._respond(request)

    def elsewhere(self, api: Api, key: SecretStr | None = None) -> "Http":
        """Return a client of another host of the same source; the caller closes it.

        The new client has separate rate limits and a separate circuit breaker, and shares the cache
        and the status of this one.

        Args:
            api: the API at the other host.
            key: key for that host; this client's key is sent to no other host.

        Raises:
            ConfigError: the address is no http(s) URL, or the key has impossible characters.
        """
        client = Http(
            api, name=self._name, clock=self._clock, rng=self._rng, key=key, cache=self._cache
        )
        client._counters = self._counters
        return client

    def status(self) -> SourceStatus:
        """Return the state, latency, counts and remaining units of the source."""
        return self._counters.status(
            self._name, self._breaker.cause, self._limiter.left(), self._retries.count
        )

    def refusal(self, name: str) -> Note | None:
        """Return the refusal noted under a name; None if there is none or it has expired."""
        return self._refusals.get(f"refused {name}")

    def note_refusal(self, name: str, text: str, seconds: float) -> None:
        """Store a refusal, also for later processes.

        Args:
            name: name to pass to `refusal`.
            text: reason, for the user.
            seconds: time until the refusal expires.
        """
        self._refusals.put(f"refused {name}", Note(self._after(seconds), self._redact(text)))

    def note(self, error: SourceError) -> None:
        """Show an error that occurred while parsing a response in the status."""
        self._counters.count_failure(error)

    async def aclose(self) -> None:
        """Close the connections; the cache stays open."""
        self._log_redaction.close()
        await self._connection.aclose()

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

    def _build(
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
        cacheable = self._cache is not None and ttl is not None
        key = cache_key(method, url, content, headers, form, self._redact) if cacheable else ""
        return HttpRequest(method, url, content, headers, ttl, cost, form, what, key)

    async def _respond(self, request: HttpRequest) -> HttpResponse:
        """Return a response from the cache or the source."""
        self._counters.requests += 1
        cached = await self._cached(request)
        if cached and request.ttl is not None and self._is_fresh(cached.response, request.ttl):
            self._counters.cache_hits += 1
            return self._finish(request, cached)
        try:
            parsed = await self._retries.run(partial(self._attempt, request, cached))
        except SourceError as error:
            self._counters.count_failure(error)
            usable = cached is not None and error.temporary
            if cached is None or not usable or not self._may_be_stale(request, cached.response):
                raise
            return self._finish(request, cached, instead_of_error=True)
        # A body that echoes the key must not be written to disk.
        exposes_key = self._redact.matches(parsed.response.body)
        if self._cache and request.ttl is not None and not exposes_key:
            await self._cache.put(request.cache_key, parsed.response)
        return self._finish(request, parsed)

    async def _cached(self, request: HttpRequest) -> ParsedResponse | None:
        if self._cache is None or request.ttl is None:
            return None
        return self._parser.parse_cached(request, await self._cache.get(request.cache_key))

    async def _attempt(
        self, request: HttpRequest, cached: ParsedResponse | None, deadline: Deadline
    ) -> ParsedResponse:
        """Send a request once, in its turn, and return the parsed response."""
        self._breaker.check()
        headers = {**request.headers, **(_conditions(cached.response) if cached else {})}
        message = self._connection.build(request.method, request.url, request.content, headers)
        async with self._limiter.turn(request.cost, request.group):
            with self._breaker.attempt():
                began = self._clock.now()
                reply = await self._connection.send(message, request.what, deadline)
                now = self._clock.now()
                self._limiter.follow_headers(reply.headers)
                try:
                    parsed = self._parser.parse(request, cached, reply, now)
                except SourceError as error:
                    self._remember(error)
                    raise
        # A response that was on its way when the key was refused proves nothing about the key.
        if self._breaker.cause is None:
            self._refusals.drop(_KEY)
        self._limited_in_a_row = 0
        self._counters.latencies.append((now - began) / SECOND)
        self._counters.count_success(now)
        return parsed

    def _resume(self) -> None:
        """Apply the ban, refused key or pause that an earlier process stored."""
        if (ban := self._refusals.ban) is not None:
            self._breaker.resume(BannedError(ban.text, where=self._name), ban.until)
        elif (refused := self._refusals.get(_KEY)) is not None:
            cause = UnauthorisedError(refused.text, where=self._name)
            self._breaker.resume(cause, refused.until)
        if (pause := self._refusals.get(_PAUSE)) is not None:
            self._limiter.pause((pause.until - self._clock.now()) / SECOND)

    def _remember(self, error: SourceError) -> None:
        """Store a ban, a refused key or a long pause for later processes, and start the pause."""
        seconds = error.retry_after_seconds
        if isinstance(error, BannedError):
            until = self._after(seconds or self._api.ban_seconds)
            self._refusals.ban = Note(until, error.message)
        elif isinstance(error, UnauthorisedError):
            until = self._after(self._api.refused_key_seconds)
            self._refusals.put(_KEY, Note(until, error.message))
        elif isinstance(error, RateLimitedError | UnavailableError):
            if seconds is not None and seconds > _LONGEST_USUAL_PAUSE_SECONDS:
                self._refusals.put(_PAUSE, Note(self._after(seconds), error.message))
            self._pause(error)

    def _after(self, seconds: float) -> int:
        return self._clock.now() + int(seconds * SECOND)

    def _pause(self, error: RateLimitedError | UnavailableError) -> None:
        """Pause all requests: a rate limit applies to the source, not to one request."""
        seconds = error.retry_after_seconds
        if seconds is None and isinstance(error, RateLimitedError):
            seconds = self._usual_pause()
        self._limiter.pause(seconds or 0)

    def _usual_pause(self) -> float:
        self._limited_in_a_row += 1
        longest = min(_LONGEST_USUAL_PAUSE_SECONDS, 2.0 ** min(self._limited_in_a_row, 20))
        return self._rng.uniform(longest / 2, longest)

    def _age(self, response: CachedResponse) -> float:
        since = max(0, self._clock.now() - response.fetched_at)
        return since / SECOND + response.added_age_seconds

    def _is_fresh(self, response: CachedResponse, ttl: float) -> bool:
        # A response from the future means that a clock was set back: its age is unknown.
        return response.fetched_at <= self._clock.now() and self._age(response) < ttl

    def _may_be_stale(self, request: HttpRequest, response: CachedResponse) -> bool:
        return self._age(response) <= (request.ttl or 0) + self._api.stale_seconds

    def _finish(
        self, request: HttpRequest, parsed: ParsedResponse, *, instead_of_error: bool = False
    ) -> HttpResponse:
        response, age = parsed.response, self._age(parsed.response)
        longest = LONGEST_ON_THE_WAY_SECONDS if request.ttl is None else request.ttl
        stale = instead_of_error or age > longest
        self._counters.stale += stale
        return HttpResponse(
            where=self._name,
            what=request.what,
            headers=response.headers,
            body=response.body,
            json=parsed.json,
            fetched_at=response.fetched_at,
            age_seconds=age,
            added_age_seconds=response.added_age_seconds,
            stale=stale,
            not_modified=parsed.not_modified,
            unchanged_since=response.unchanged_since,
            redact=self._redact,
        )


def _conditions(response: CachedResponse) -> dict[str, str]:
    """Return the headers that ask the source whether a cached response is still current."""
    pairs = {"if-none-match": "etag", "if-modified-since": "last-modified"}
    return {
        condition: response.headers[validator]
        for condition, validator in pairs.items()
        if validator in response.headers
    }

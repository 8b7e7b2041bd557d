"""WebSocket streams: subscriptions, combined streams, keep-alive and the end of a connection."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from starlette.concurrency import run_in_threadpool

from weft_sandbox.protocol import MILLI, Json
from weft_sandbox.protocols.binance.api import FUTURES, SPOT, Side, api
from weft_sandbox.protocols.binance.events import Event, Feed, make_feed
from weft_sandbox.sockets import Session

_TICK_SECONDS = 0.1
_MOST_STREAMS = 1_024
_DAY_SECONDS = 86_400.0
_PUBLIC = ("depth", "bookTicker", "trade")


@dataclass(frozen=True, slots=True)
class _Manner:
    """The rules of a kind of connection.

    Attributes:
        side: spot or futures.
        ping_seconds: seconds between two pings of the server.
        pong_seconds: seconds to wait for a pong.
        messages: client messages a second.
        carries: streams with data: those of ``public``, of ``market``, or all.
    """

    side: Side
    ping_seconds: float
    pong_seconds: float
    messages: int
    carries: str = "all"

    def has(self, name: str) -> bool:
        """Whether a stream has data on this connection; otherwise it is silent."""
        public = name.partition("@")[2].startswith(_PUBLIC)
        return self.carries == "all" or (self.carries == "public") == public


_SPOT = _Manner(SPOT, 20.0, 60.0, 5)
_FUTURES = {
    name: _Manner(FUTURES, 180.0, 600.0, 10, carries)
    for name, carries in (("/public", "public"), ("/market", "market"), ("/fstream", "all"))
}


class _Connection:
    """One client's subscriptions."""

    def __init__(self, session: Session, manner: _Manner, *, combined: bool) -> None:
        self._session, self._manner, self.combined = session, manner, combined
        self._feeds: dict[str, tuple[Feed, int, float]] = {}

    def subscribe(self, names: list[str]) -> None:
        """Start streams; unknown names are accepted and stay silent, as at Binance."""
        desk = self._session.ask.desk
        now = desk.clock.now()
        for name in names:
            feed = make_feed(desk, self._manner.side, name, now) if self._manner.has(name) else None
            if feed is None:
                feed = _Silent(desk, self._manner.side, desk.world.coins[0])
            self._feeds.setdefault(name, (feed, now, time.monotonic()))

    async def publish(self) -> None:
        """Send events while the client is connected."""
        while True:
            await asyncio.sleep(_TICK_SECONDS / 2)
            if self._feeds:
                for name, event in await run_in_threadpool(self._due):
                    wrapped = {"stream": name, "data": event} if self.combined else event
                    await self._session.push(wrapped)

    def _due(self) -> list[tuple[str, Event]]:
        clock, real = self._session.ask.desk.clock, time.monotonic()
        now = clock.now()
        skew = self._session.ask.server_now - self._session.ask.now
        server_ms = (now + skew) // MILLI
        messages = []
        for name, (feed, last, due) in list(self._feeds.items()):
            if real >= due:
                events = feed.events(last, now, server_ms) if now > last else []
                messages += [(name, event) for event in events]
                following = max(due + feed.period, real - feed.period)
                # The client may have unsubscribed meanwhile.
                if name in self._feeds:
                    self._feeds[name] = (feed, now, following)
        return messages

    async def listen(self) -> None:
        """Answer the client until it leaves or sends too fast."""
        while (message := await self._session.receive()) is not None:
            if self._session.too_fast(self._manner.messages):
                await self._session.close(1008, "Too many requests")
                return
            await self._session.reply(self._answer(message))

    def _answer(self, message: str | bytes) -> Json:
        try:
            request = orjson.loads(message)
        except ValueError as error:
            return {"error": {"code": 3, "msg": f"Invalid JSON: {error}"}, "id": None}
        if not isinstance(request, dict):
            return _invalid("request must be an object", None)
        number, names = request.get("id"), request.get("params") or []
        if number is not None and not isinstance(number, int | str):
            return _invalid("request ID must be an unsigned integer", None)
        method = _METHODS.get(str(request.get("method")))
        if method is None:
            return _invalid(f"unknown variant `{request.get('method')}`", number)
        try:
            return {"result": method(self, names), "id": number}
        except (ValueError, TypeError) as error:
            return _invalid(str(error), number)

    def add(self, names: list[str]) -> None:
        """Answer SUBSCRIBE."""
        _check_names(names)
        if len({*self._feeds, *names}) > _MOST_STREAMS:
            raise ValueError(f"more than {_MOST_STREAMS} streams")
        self.subscribe(names)

    def leave(self, names: list[str]) -> None:
        """Answer UNSUBSCRIBE."""
        _check_names(names)
        for name in names:
            self._feeds.pop(name, None)

    def listed(self, _: list[str]) -> list[str]:
        """Answer LIST_SUBSCRIPTIONS."""
        return list(self._feeds)

    def set_property(self, values: Json) -> None:
        """Answer SET_PROPERTY."""
        if len(values) != 2 or values[0] != "combined" or not isinstance(values[1], bool):
            raise ValueError("missing or wrong field `params`")
        self.combined = values[1]

    def get_property(self, values: Json) -> bool:
        """Answer GET_PROPERTY."""
        if values != ["combined"]:
            raise ValueError("missing or wrong field `params`")
        return self.combined


_METHODS: dict[str, Callable[[_Connection, Json], Json]] = {
    "SUBSCRIBE": _Connection.add,
    "UNSUBSCRIBE": _Connection.leave,
    "LIST_SUBSCRIPTIONS": _Connection.listed,
    "SET_PROPERTY": _Connection.set_property,
    "GET_PROPERTY": _Connection.get_property,
}


def _check_names(names: Json) -> None:
    if not names or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError("params must be an array of stream names")


class _Silent(Feed):
    def events(self, last: int, now: int, server_ms: int) -> list[Event]:
        return []


def _invalid(why: str, number: Json) -> Event:
    return {"error": {"code": 2, "msg": f"Invalid request: {why}"}, "id": number}


async def _serve(session: Session, manner: _Manner, names: list[str], *, combined: bool) -> None:
    options = session.ask.desk.options
    connection = _Connection(session, manner, combined=combined)
    connection.subscribe(names)
    await session.together(
        connection.listen(),
        connection.publish(),
        session.keep_alive(
            options.get("binance.ping_seconds", manner.ping_seconds),
            options.get("binance.pong_seconds", manner.pong_seconds),
        ),
        session.live_for(options.get("binance.life_seconds", _DAY_SECONDS)),
    )


def _register(prefix: str, manner: _Manner) -> None:
    async def bare(session: Session) -> None:
        names = session.ask.path.get("names", "")
        await _serve(session, manner, [n for n in names.split("/") if n], combined=False)

    async def combined(session: Session) -> None:
        names = session.ask.query.get("streams", "").split("/")
        await _serve(session, manner, [n for n in names if n], combined=True)

    api.socket(f"{prefix}/ws")(bare)
    api.socket(f"{prefix}/ws/{{names:path}}")(bare)
    api.socket(f"{prefix}/stream")(combined)


_register("", _SPOT)
for _prefix, _manner in _FUTURES.items():
    _register(_prefix, _manner)

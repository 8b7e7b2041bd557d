"""Binance's WebSocket streams: topics, and the parsing of their messages.

Used by the providers `binance` and `binance_futures`. Names and fields:
https://github.com/binance/binance-spot-api-docs, web-socket-streams.md, and
https://developers.binance.com/docs/derivatives/usds-margined-futures.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

import orjson
from pydantic import Field

from weft.components.base import ComponentConfig, Local
from weft.components.provider import Request, SourceKind
from weft.domain.instruments import split_pair
from weft.foundation.errors import ConfigError
from weft.foundation.times import Interval
from weft.sources.candles import CandleProvider
from weft.sources.exchange import DOLLARS
from weft.sources.http import Http, Reader
from weft.sources.stream.events import (
    Acknowledged,
    BookSnapshot,
    BookUpdate,
    Candle,
    Closing,
    Event,
    Liquidation,
    Parsed,
    Refused,
    Trade,
)
from weft.sources.stream.spec import StreamLimits, StreamSpec, Topic

Kind: TypeAlias = Literal["candles", "trades", "liquidations", "book"]

_SPOT_URL, _FUTURES_URL = "wss://stream.binance.com:9443", "wss://fstream.binance.com"
_SPOT_LIMITS = StreamLimits(
    connects=300,
    connects_seconds=300.0,
    # Binance allows five; one is reserved for the answers to its pings.
    messages_per_second=4,
    topics_per_connection=200,
    life_seconds=86_400.0,
)
_FUTURES_LIMITS = replace(_SPOT_LIMITS, messages_per_second=8)
# Binance sends nothing about a pair without trades.
_QUIET_SECONDS = 300.0
_SNAPSHOT_LEVELS = 1_000
_SPOT_DEPTH_COST, _FUTURES_DEPTH_COST = 50, 20
_REPLIES = {"result", "error", "code"}
# Fetched as a series of hours; streamed values of other spans would be mixed with it.
_FETCHED = frozenset({"taker_buy_sell_ratio"})
_TEST_NETWORK = re.compile("testnet|sandbox|demo")


class StreamOptions(ComponentConfig):
    """Options of Binance's streams, a second base of an exchange's options."""

    streams: tuple[Kind, ...] = Field(
        default=(), description="what to follow live, in addition to requests"
    )
    stream_url: Annotated[str | None, Local()] = Field(
        default=None,
        pattern=r"^wss?://[^\s/]",
        description="another address of the streams; set base_url too",
    )


def spot_streams(provider: CandleProvider, request: Request) -> list[StreamSpec]:
    """Return the spot streams that a provider's options ask for.

    Raises:
        ConfigError: only one of `stream_url` and `base_url` is Binance's own address, or the
            options ask for liquidations, which spot markets do not have.
    """
    options = _options(provider)
    if "liquidations" in options.streams:
        hint = "Take liquidations from binance_futures"
        raise ConfigError("spot markets have no liquidations", where=provider.name, hint=hint)
    topics = _topics(provider, request, ("candles", "trades", "book"))
    if not topics:
        return []
    url = f"{_base(provider, _SPOT_URL)}/ws"
    snapshot = partial(read_snapshot, path="/api/v3/depth", cost=_SPOT_DEPTH_COST)
    parse = partial(parse_message, intervals=_intervals(provider))
    return [
        StreamSpec(
            name="spot",
            url=url,
            topics=tuple(topics),
            subscribe=subscribe,
            parse=parse,
            backfill=partial(CandleProvider.fetch, provider),
            snapshot=snapshot,
            tells=_has_unit,
            limits=_SPOT_LIMITS,
        )
    ]


def futures_streams(provider: CandleProvider, request: Request) -> list[StreamSpec]:
    """Return the futures streams that a provider's options ask for; books have a separate path.

    Raises:
        ConfigError: only one of `stream_url` and `base_url` is Binance's own address.
    """
    base = _base(provider, _FUTURES_URL)
    snapshot = partial(read_snapshot, path="/fapi/v1/depth", cost=_FUTURES_DEPTH_COST)
    parse = partial(parse_message, intervals=_intervals(provider))
    kinds: dict[str, tuple[Kind, ...]] = {
        "market": ("candles", "trades", "liquidations"),
        "public": ("book",),
    }
    specs = []
    for path, path_kinds in kinds.items():
        topics = _topics(provider, request, path_kinds)
        if topics:
            spec = StreamSpec(
                name=f"futures {path}",
                url=f"{base}/{path}/ws",
                topics=tuple(topics),
                subscribe=subscribe,
                parse=parse,
                backfill=partial(CandleProvider.fetch, provider),
                snapshot=snapshot,
                tells=lambda metric, symbol: metric not in _FETCHED and _has_unit(metric, symbol),
                limits=_FUTURES_LIMITS,
            )
            specs.append(spec)
    return specs


def subscribe(names: Sequence[str], request: int) -> str:
    """Return the message that subscribes to topics."""
    return orjson.dumps({"method": "SUBSCRIBE", "params": list(names), "id": request}).decode()


async def read_snapshot(http: Http, symbol: str, *, path: str, cost: int) -> BookSnapshot:
    """Return the order book of a symbol, 1000 levels deep."""
    params: dict[str, str | int] = {"symbol": symbol, "limit": _SNAPSHOT_LEVELS}
    read = (await http.get(path, params=params, cost=cost)).read
    return BookSnapshot(read.integer("lastUpdateId"), _levels(read, "bids"), _levels(read, "asks"))


def parse_message(message: Reader, *, intervals: dict[str, Interval]) -> Parsed:
    """Return the events in a message; none for a kind without a subscription.

    Args:
        message: a message of a connection without the wrapper of combined streams.
        intervals: intervals by Binance's name.

    Raises:
        SchemaChangedError: the message has another form.
    """
    if "e" not in (fields := message.fields()) and fields.keys() & _REPLIES:
        return Parsed((_reply(message),))
    kind = message.text("e")
    events: tuple[Event, ...] = ()
    if kind == "aggTrade":
        events = (_trade(message),)
    elif kind == "kline":
        events = (_candle(message, intervals),)
    elif kind == "depthUpdate":
        events = (_book(message),)
    elif kind == "forceOrder":
        events = tuple(_liquidation(message))
    elif kind == "serverShutdown":
        events = (Closing(kind),)
    return Parsed(events, message.instant("E", unit="ms"))


def _reply(message: Reader) -> Event:
    number = message.integer("id") if message.has("id") else None
    if message.has("error"):
        return Refused(number, message.text("error", "msg"))
    if message.has("code"):
        return Refused(number, message.text("msg"))
    # Every request of Weft has a number: an answer without one confirms nothing.
    return Acknowledged(-1 if number is None else message.integer("id"))


def _candle(message: Reader, intervals: dict[str, Interval]) -> Candle:
    kline = message.at("k")
    opened = kline.instant("t", unit="ms")
    interval = intervals.get(kline.text("i"))
    if interval is None or interval.floor(opened) != opened:
        raise kline.unexpected("a candle on the grid of its interval")
    closed = kline.at("x").value
    if not isinstance(closed, bool):
        raise kline.at("x").unexpected("true or false")
    o, h, low, c, volume = (kline.number(name) for name in "ohlcv")
    return Candle(message.text("s"), opened, o, h, low, c, volume, closed)


def _trade(message: Reader) -> Trade:
    maker = message.at("m").value
    if not isinstance(maker, bool):
        raise message.at("m").unexpected("true or false")
    return Trade(
        message.text("s"),
        message.instant("T", unit="ms"),
        message.number("p"),
        message.number("q"),
        bought=not maker,
        trades=message.integer("l") - message.integer("f") + 1,
        id=message.integer("a"),
    )


def _book(message: Reader) -> BookUpdate:
    return BookUpdate(
        message.text("s"),
        message.integer("U"),
        message.integer("u"),
        message.integer("pu") if message.has("pu") else None,
        _levels(message, "b"),
        _levels(message, "a"),
    )


def _liquidation(message: Reader) -> Iterator[Liquidation]:
    order = message.at("o")
    # Only the filled part is a liquidation; the rest of an order may follow later.
    size = order.number("z")
    side = order.text("S")
    if side not in {"BUY", "SELL"}:
        raise order.at("S").unexpected("BUY or SELL")
    if size > 0:
        at = order.instant("T", unit="ms")
        # A forced sale liquidates a long position.
        yield Liquidation(order.text("s"), at, order.number("ap"), size, side == "SELL")


def _levels(message: Reader, side: str) -> dict[float, float]:
    return {row.number(0): row.number(1) for row in message.rows(side)}


def _has_unit(metric: str, symbol: str) -> bool:
    """Return whether a metric has its unit: dollars need a pair quoted in dollars."""
    _, quote, _ = split_pair(symbol) or (symbol, "", 1)
    return quote in DOLLARS or not metric.endswith("_usd")


def _topics(provider: CandleProvider, request: Request, kinds: Sequence[Kind]) -> list[Topic]:
    options = _options(provider)
    name = provider.intervals.get(request.interval.name)
    listed = request.symbols or provider.config.symbols
    symbols = [s for s in dict.fromkeys(listed) if s not in provider.unlisted]
    topics = []
    for symbol in symbols:
        low = symbol.lower()
        all_kinds = {
            "candles": Topic(f"{low}@kline_{name}", symbol, Candle, _QUIET_SECONDS),
            "trades": Topic(f"{low}@aggTrade", symbol, Trade, None),
            "liquidations": Topic(f"{low}@forceOrder", symbol, Liquidation, None),
            "book": Topic(f"{low}@depth", symbol, BookUpdate, _QUIET_SECONDS),
        }
        wanted = [kind for kind in kinds if kind in options.streams]
        # An interval without candles is reported by the requests for them.
        topics += [all_kinds[kind] for kind in wanted if kind != "candles" or name is not None]
    return topics


def _intervals(provider: CandleProvider) -> dict[str, Interval]:
    return {theirs: Interval.parse(name) for name, theirs in provider.intervals.items()}


def _options(provider: CandleProvider) -> StreamOptions:
    options: StreamOptions = provider.config
    return options


def _base(provider: CandleProvider, official: str) -> str:
    """Return the address of the streams.

    Raises:
        ConfigError: the streams are Binance's own and the requests are not, or the reverse: data
            of a sandbox would be stored as real.
    """
    url = (_options(provider).stream_url or official).rstrip("/")
    host = urlsplit(url).hostname or ""
    at_venue = any(host == domain or host.endswith(f".{domain}") for domain in provider.hosts)
    real = at_venue and not _TEST_NETWORK.search(host)
    if real != (provider.source_kind is SourceKind.REAL):
        raise ConfigError(
            "only one of base_url and stream_url is Binance's own address",
            where=f"provider {provider.name}",
            hint="Set both, or neither",
        )
    return url

"""Parse the names of candle files and folders: symbol, interval, venue."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from weft.domain.instruments import split_pair
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, WEEK, Interval

_TEXTS = (".csv", ".txt", ".tsv", ".json")
SUFFIXES: Final = (
    *(stem + packed for stem in _TEXTS for packed in (".gz", ".zip", "")),
    *(".zip", ".parquet", ".pq", ".feather", ".arrow", ".ipc"),
)
"""Endings of the names of files that can be read."""

_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes", "t"), MINUTE),
    **dict.fromkeys(("h", "hr", "hour", "hours", "hourly"), HOUR),
    **dict.fromkeys(("d", "day", "days", "daily"), DAY),
    **dict.fromkeys(("w", "wk", "week", "weekly"), WEEK),
}
_VENUES = frozenset(
    {
        "binance",
        "binanceus",
        "bybit",
        "coinbase",
        "kraken",
        "bitstamp",
        "bitfinex",
        "gemini",
        "okx",
        "okex",
        "kucoin",
        "huobi",
        "htx",
        "gateio",
        "bitmex",
        "deribit",
        "poloniex",
        "bittrex",
        "ftx",
        "mexc",
        "bitget",
        "cryptodatadownload",
        "oanda",
        "fx",
        "fxcm",
        "nasdaq",
        "nyse",
        "amex",
        "arca",
        "batsy",
        "lse",
        "xetra",
        "cme",
        "cboe",
        "dukascopy",
        "index",
        "tvc",
    }
)
_KINDS = {
    **dict.fromkeys(("futures", "future", "perp", "perpetual", "swap", "um"), "perpetual"),
    "spot": "spot",
}
_WORDS = frozenset(
    {
        "ohlcv",
        "ohlc",
        "candles",
        "candle",
        "candlestick",
        "klines",
        "kline",
        "bars",
        "data",
        "full",
        "dat",
        "ascii",
        "bid",
        "ask",
        "mid",
        "to",
        "from",
        "adjsplit",
        "adjsplitdiv",
        "unadjusted",
        "unadj",
        "adjusted",
        "adj",
        "cm",
        "history",
        "historical",
        "prices",
        "price",
    }
)
_SETTLED = frozenset(
    {
        "USDT",
        "USDC",
        "USD",
        "BUSD",
        "FDUSD",
        "TUSD",
        "EUR",
        "GBP",
        "BTC",
        "ETH",
        "BNB",
        "TRY",
        "DAI",
        "JPY",
    }
)
_TRADING_VIEW = re.compile(
    r"(?P<venue>[A-Z0-9]+)_(?P<symbol>[^,]+), (?P<interval>\d*[A-Z]?)(_\w+)?( ?\(\d+\))?"
)
_DATE = re.compile(r"(19|20|21)\d\d([-.]?(0[1-9]|1[0-2])([-.]?(0[1-9]|[12]\d|3[01])\d*)?)?")
_FIELDS = {
    "symbol": r"(?P<symbol>.+?)",
    "base": r"(?P<base>[^-_/ ]+)",
    "quote": r"(?P<quote>[^-_/ ]+)",
    "interval": r"(?P<interval>\d+[A-Za-z]+)",
    "venue": r"(?P<venue>[^-_/ ]+)",
    "year": r"\d{4}",
    "month": r"\d\d",
    "day": r"\d\d",
    "any": r".*?",
}


@dataclass(frozen=True, slots=True)
class NameParts:
    """The parts of a file name.

    Attributes:
        symbol: symbol of the candles; empty where the name has none.
        interval: length of the candles; None where the name has none.
        venue: where the instrument trades; empty where the name has none.
        kind: spot or perpetual; empty where the name has neither.
    """

    symbol: str
    interval: Interval | None = None
    venue: str = ""
    kind: str = ""


def name_pattern(text: str) -> re.Pattern[str]:
    """Compile the option `symbol`: a symbol, a pattern with {fields}, or a regular expression.

    Raises:
        ValueError: the pattern has no place for a symbol, or is no regular expression.
    """
    if "(?P<" not in text:
        parts = re.split(r"\{(\w+)\}", text)
        unknown = [name for name in parts[1::2] if name not in _FIELDS]
        if unknown:
            raise ValueError(
                f"unknown field {{{unknown[0]}}}; these are known: {', '.join(_FIELDS)}"
            )
        if len(parts) == 1:
            return re.compile(f"(?P<literal>{re.escape(text)})")
        seen: set[str] = set()
        text = "".join(_field(p, seen) if n % 2 else re.escape(p) for n, p in enumerate(parts))
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    if not {"symbol"} <= pattern.groupindex.keys() and not {"base", "quote"} <= (
        pattern.groupindex.keys()
    ):
        raise ValueError(
            f"{text!r} has no place for the symbol; write it like {{symbol}}-{{interval}}"
        )
    return pattern


def _field(name: str, seen: set[str]) -> str:
    if name in seen:
        return f"(?P={name})" if name not in {"year", "month", "day", "any"} else _FIELDS[name]
    seen.add(name)
    return _FIELDS[name]


def parse_name(path: str, pattern: re.Pattern[str] | None = None) -> NameParts | None:
    """Parse the path of a file within its folder; return None where a pattern does not fit.

    Without a pattern, names such as ``BTCUSDT-1h-2026-10``, ``BTC_USDT_USDT-1h-futures`` and
    ``BINANCE_BTCUSDT, 60`` are understood, and folders as in ``BTCUSDT/1h/2026-10``. A name
    without any known part is the symbol; a name of dates and intervals only has no symbol.
    """
    stem = strip_suffix(path)
    if pattern is not None:
        return _by_pattern(stem, pattern)
    parts = PurePosixPath(stem).parts
    name = _by_words(parts[-1])
    if name.symbol:
        return name
    for folder in reversed(parts[:-1]):
        above = _by_words(folder, is_folder=True)
        likely = split_pair(above.symbol) or re.fullmatch(r"[A-Z0-9.^=-]{1,12}", above.symbol)
        name = NameParts(
            above.symbol if likely else "",
            name.interval or above.interval,
            name.venue or above.venue,
            name.kind or above.kind,
        )
        if name.symbol:
            return name
    return name


def strip_suffix(path: str) -> str:
    """Return a path without the ending of its format."""
    lower = path.lower()
    ends = [suffix for suffix in SUFFIXES if lower.endswith(suffix)]
    return path[: -max(map(len, ends))] if ends else path


def _by_pattern(stem: str, pattern: re.Pattern[str]) -> NameParts | None:
    if "literal" in pattern.groupindex:
        return NameParts(pattern.pattern.removeprefix("(?P<literal>")[:-1].replace("\\", ""))
    match = pattern.fullmatch(stem) or pattern.fullmatch(PurePosixPath(stem).name)
    if match is None:
        return None
    groups = match.groupdict()
    symbol = groups.get("symbol") or f"{groups.get('base') or ''}{groups.get('quote') or ''}"
    return NameParts(symbol, _interval(groups.get("interval") or ""), groups.get("venue") or "")


def _by_words(stem: str, *, is_folder: bool = False) -> NameParts:
    """Parse one name by its words; the symbol is empty where all words are dates or intervals."""
    if (match := _TRADING_VIEW.fullmatch(stem)) is not None:
        symbol = match["symbol"].removesuffix(".P")
        kind = "perpetual" if symbol != match["symbol"] else ""
        return NameParts(symbol, _minutes(match["interval"]), match["venue"].lower(), kind)
    words = list(_words(stem))
    is_date = _is_date(stem)
    if len(words) == 1 and not (is_folder or is_date or _strict(stem)):
        return NameParts(stem)
    rest, interval, venue, kind = list[str](), None, "", ""
    for place, word in enumerate(words):
        low = word.lower()
        # A bare letter or number is an interval only after a symbol.
        length = _strict(word) or (_loose(word) if rest and place == len(words) - 1 else None)
        if length is not None or _is_month(word):
            interval = interval or length
        elif low in _KINDS:
            kind = _KINDS[low]
        elif low in _VENUES and len(words) > 1:
            venue = venue or low
        elif not (_DATE.fullmatch(word) and (is_date or len(words) > 1)) and low not in _WORDS:
            rest.append(word)
    if len(rest) == len(words) > 1 and not _is_pair(rest):
        return NameParts("" if is_folder and not split_pair(stem) else stem)
    symbol, settled = _symbol(rest, stem)
    return NameParts(symbol, interval, venue, kind or settled)


def _words(stem: str) -> Iterator[str]:
    """Yield the words of a name; a date such as 2026-10 or 01.02.2023 is one word."""
    dated = re.sub(r"(?<!\d)(\d\d)\.(\d\d)\.(\d{4})(?!\d)", r"\3\2\1", stem)
    dated = re.sub(r"(?<!\d)(\d{4})[-_](\d\d)[-_](\d\d)(?!\d)", r"\1\2\3", dated)
    dated = re.sub(r"(?<!\d)(\d{4})[-_](\d\d)(?!\d)", r"\1\2", dated)
    unit = r"(?i)(?<![a-z0-9])(\d{1,3})[-_ ](minute|min|hour|day|week)s?(?![a-z])"
    dated = re.sub(unit, r"\1\2", dated)
    yield from (word for word in re.split(r"[-_, ]+", dated) if word)


def _symbol(rest: Sequence[str], stem: str) -> tuple[str, str]:
    """Join the remaining words to a symbol; a third word, the settlement, means perpetual."""
    if not rest:
        return "", ""
    if len(rest) == 1:
        return rest[0], ""
    if _is_pair(rest):
        base, quote = rest[0], rest[1]
        joint = "-" if f"{base}-{quote}" in stem else ""
        return f"{base}{joint}{quote}", "perpetual" if len(rest) > len((base, quote)) else ""
    return stem, ""


def _is_pair(words: Sequence[str]) -> bool:
    """Whether words are base and quote, with or without the settlement asset."""
    return len(words) in {2, 3} and all(word.upper() in _SETTLED for word in words[1:])


def _is_date(stem: str) -> bool:
    """Whether a name is only a date; six or four digits may be the number of a stock."""
    return re.fullmatch(r"\d{4}[-_.]\d\d([-_.]\d\d)?|\d{8}", stem) is not None and (
        _DATE.fullmatch(stem.replace("_", "-")) is not None
    )


def _is_month(word: str) -> bool:
    return re.fullmatch(r"\d+(M|mo|MN)|MN1?|[Mm]onthly", word) is not None


def _strict(word: str) -> Interval | None:
    """Parse an interval with number and unit: 1h, 15min, M15, H4."""
    if match := re.fullmatch(r"(\d+)([A-Za-z]+)", word):
        if match[2] == "M":
            return None
        return _length(int(match[1]), match[2].lower())
    if match := re.fullmatch(r"([MHDW])(\d+)", word):
        return _length(int(match[2]), match[1].lower())
    return None


def _loose(word: str) -> Interval | None:
    """Parse an interval that a last word may name: d, hour, daily, 60."""
    if word.isdecimal():
        return _minutes(word)
    return _length(1, word.lower()) if word.lower() == word or len(word) > 1 else None


def _interval(text: str) -> Interval | None:
    return _strict(text) or _loose(text) if text else None


def _minutes(text: str) -> Interval | None:
    """Parse an interval in minutes, as charts name it, or a text such as 1D."""
    if text.isdecimal():
        usual = {1, 2, 3, 5, 10, 15, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1440, 10080}
        return _length(int(text), "m") if int(text) in usual else None
    return _strict(text) or _length(1, text.lower())


def _length(count: int, unit: str) -> Interval | None:
    if count < 1 or unit not in _UNITS:
        return None
    seconds = count * _UNITS[unit] // SECOND
    return Interval.parse(f"{seconds}s") if seconds * SECOND <= 52 * WEEK else None

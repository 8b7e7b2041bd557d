"""Find the columns of candle files by their header names or positions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

PRICES: Final = ("open", "high", "low", "close")
NEEDED: Final = ("open_time", *PRICES, "volume")
OPTIONAL: Final = ("symbol", "interval", "known_at", "venue")
NAMES: Final = (*NEEDED, *OPTIONAL, "date", "time")
"""Names that a column can have; `date` and `time` together give the open time."""

_TIMES = (
    *("open_time", "opentime", "kline_open_time", "starttime", "start_time", "time_period_start"),
    *("period_start", "window_start", "begins_at", "unix", "unix_time", "unix_timestamp"),
    *("timestamp_ms", "timestamp", "ts", "epoch", "datetime", "date_time", "gmt_time"),
    *("local_time", "bar_time", "time", "date", "start", "t", "datum"),
)
_DATES = ("date", "datum", "day", "dtyyyymmdd", "trade_date", "trading_day")
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "open": ("open", "o", "open_price", "price_open", "erster", "eroffnung", "ouverture"),
    "high": ("high", "h", "high_price", "price_high", "max", "hoch", "haut"),
    "low": ("low", "l", "low_price", "price_low", "min", "tief", "bas"),
    "close": (
        *("close", "c", "close_price", "price_close", "close_last", "last", "price"),
        *("schlusskurs", "schluss", "cloture"),
    ),
    "symbol": ("symbol", "ticker", "pair", "instrument", "market", "name", "tic", "coin"),
    "interval": ("interval", "timeframe"),
    "known_at": ("known_at",),
    "venue": ("venue", "exchange"),
}
_VOLUMES = (
    *("volume", "vol", "v", "base_volume", "volume_base", "volumefrom", "volume_from"),
    *("real_volume", "trade_volume", "shares_traded", "stuecke", "volumen"),
)
_TICKS = ("tick_volume", "tickvol", "tickvolume")
_QUOTES = frozenset(
    {
        "usd",
        "usdt",
        "usdc",
        "busd",
        "fdusd",
        "tusd",
        "dai",
        "eur",
        "gbp",
        "jpy",
        "try",
        "krw",
        "quote",
        "currency",
        "notional",
        "to",
        "ccy",
    }
)
_ACCENTS = str.maketrans("äöüéèêôßáíóú", "aoueeeosaiou")


@dataclass(frozen=True, slots=True)
class Series:
    """The columns of a file that hold the candles of one symbol.

    Attributes:
        columns: position from 0 of each column that is read, by Weft's name.
        symbol: the symbol where the header names it; None where a column or the file name does.
    """

    columns: Mapping[str, int]
    symbol: str | None = None


def plain(header: str) -> str:
    """Normalise a header name to lower case and underscores: ``<OPEN>`` becomes ``open``."""
    name = header.strip().lower().translate(_ACCENTS)
    name = re.sub(r"[^a-z0-9]+", "_", name).strip("_")
    return re.sub(r"^\d+[a-z]?_(?=[a-z])", "", name)


def find_columns(
    header: Sequence[str], renames: Mapping[str, str] | Sequence[str] = ()
) -> dict[str, int]:
    """Return the position of each column that Weft reads, by Weft's name.

    Args:
        header: names of the columns in the file.
        renames: Weft's names by the file's names or by position from 1; or Weft's names for all
            columns in their order.
    """
    stated = stated_columns(header, renames)
    names = {
        plain(name): place
        for place, name in reversed(list(enumerate(header)))
        if place not in stated.values()
    }
    columns: dict[str, int] = {}
    for name, aliases in _ALIASES.items():
        if (alias := _first(aliases, names)) is not None:
            columns[name] = names[alias]
    if (volume := _volume(names)) is not None:
        columns["volume"] = names[volume]
    if (time := _first(_TIMES, names)) is not None:
        columns["open_time"] = names[time]
    if (date := _first(_DATES, names)) is not None and columns.get("open_time") != names[date]:
        columns["date"] = names[date]
    columns |= stated
    if "open_time" in stated:
        columns.pop("date", None)
    elif "date" in stated and "time" in stated:
        columns.pop("open_time", None)
    return columns


def stated_columns(
    header: Sequence[str], renames: Mapping[str, str] | Sequence[str]
) -> dict[str, int]:
    """Return the positions that the option `columns` states, by Weft's name."""
    if not isinstance(renames, Mapping):
        return {name: place for place, name in enumerate(renames) if name in NAMES}
    places = {name.strip(): place for place, name in reversed(list(enumerate(header)))}
    stated = {}
    for name, weft_name in renames.items():
        if name in places:
            stated[weft_name] = places[name]
        elif name.isdecimal() and int(name) >= 1:
            stated[weft_name] = int(name) - 1
    return stated


def is_header(fields: Sequence[str], renames: Mapping[str, str] | Sequence[str] = ()) -> bool:
    """Whether a line names at least three of the four prices, and holds no number."""
    columns = set(find_columns(fields, renames if isinstance(renames, Mapping) else ()))
    named = len(columns & set(PRICES)) >= len(PRICES) - 1
    return named and not any(looks_like_number(field) for field in fields)


def looks_like_number(field: str) -> bool:
    """Whether a field is a number in some notation."""
    return re.fullmatch(r"[-+$€]?\s*\d[\d\s.,'_]*(e[-+]?\d+)?\s*[%KMB]?", field.strip()) is not None


def _first(wanted: Sequence[str], names: Mapping[str, int]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _volume(names: Mapping[str, int]) -> str | None:
    """Return the column of volume in the base asset; a volume in the quote currency is no match."""
    if (exact := _first(_VOLUMES, names)) is not None:
        return exact
    for name in sorted(names, key=names.__getitem__):
        head, _, unit = name.partition("_")
        if head == "volume" and unit and unit not in _QUOTES:
            return name
    return _first(_TICKS, names)


def tick_volume(header: Sequence[str]) -> int | None:
    """Return the position of the column that counts ticks, used where no volume is recorded."""
    names = {plain(name): place for place, name in enumerate(header)}
    name = _first(_TICKS, names)
    return None if name is None else names[name]

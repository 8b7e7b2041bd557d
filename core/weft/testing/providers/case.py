"""A provider under test, and the stand-in for its API."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx

from weft.components.provider import Provider
from weft.foundation.times import DAY, Interval

Row: TypeAlias = tuple[Any, ...]
"""A checked row: its sort (candle, fact or text), then its columns, instants in microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A stand-in for the API of a provider.

    Attributes:
        api: base address of a server, or a function that returns it when it is needed; or a
            transport that answers requests itself.
        now: the time at the API, microseconds since 1970; choose one well between two steps.
        move: sets the time at the API; None where the API always gives all it has.
        restate: returns a context in which part of the history has other values; None where the
            stand-in cannot restate.
    """

    api: str | Callable[[], str] | httpx.AsyncBaseTransport
    now: int
    move: Callable[[int], None] | None = None
    restate: Callable[[], AbstractContextManager[None]] | None = None

    @property
    def base_url(self) -> str | None:
        """The base address; None where a transport answers."""
        if isinstance(self.api, httpx.AsyncBaseTransport):
            return None
        return self.api if isinstance(self.api, str) else self.api()


@dataclass(frozen=True, kw_only=True)
class ProviderCase:
    """A provider, the stand-in for its API, and the request that the checks make.

    Attributes:
        provider: with its options.
        stand_in: for its API.
        days: how far back the request reaches.
        interval: of the candles.
        symbols: instruments of the request; empty for those of the options.
        assets: assets of the instruments that the store knows.
        absent: declared metrics that the stand-in does not have, or not for every asset.
        unknown: options with something that the API does not have; None for an unknown symbol or
            asset in the options ``symbols`` or ``assets``, empty where there is no such thing.
        unknown_names: names that the problem lines must contain then.
        key_form: form of a key around its secret, such as ``user:{}``.
        pages: options that make pages small; None for the option ``page_size``.
        own_metrics: metrics of the provider that `weft.domain.vocabulary` does not have.
        expected: returns the rows that one fetch must bring, known from an independent source: no
            more of their sorts, no fewer, no others.
    """

    provider: Provider
    stand_in: StandIn
    days: float = 6.0
    interval: str = "1h"
    symbols: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    absent: Collection[str] = ()
    unknown: Mapping[str, Any] | None = None
    unknown_names: tuple[str, ...] = ("NOSUCH",)
    key_form: str = "{}"
    pages: Mapping[str, Any] | None = None
    own_metrics: Collection[str] = ()
    expected: Callable[[], Collection[Row]] | None = None

    @property
    def since(self) -> int:
        """The earliest instant of the request, microseconds since 1970."""
        return Interval.parse(self.interval).floor(self.stand_in.now - int(self.days * DAY))

    def build(self, **options: Any) -> Provider:  # noqa: ANN401  # options of any component
        """Return a new instance of the provider, with some options changed."""
        config = self.provider.config
        values = {name: getattr(config, name) for name in config.model_fields_set}
        if self.stand_in.base_url is not None:
            values["base_url"] = self.stand_in.base_url
        return type(self.provider)(type(config).model_validate({**values, **options}))

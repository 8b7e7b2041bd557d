"""What is checked of a provider, and what stands for its API meanwhile."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx

from weft.components.provider import Provider
from weft.foundation.times import DAY, Interval

Row: TypeAlias = tuple[Any, ...]
"""A checked row: what it is (candle, fact or text), then its columns, instants as microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What stands for a provider's API in a test.

    Attributes:
        api: base address of a server, or what returns it once it is needed; or a transport that
            answers requests itself.
        now: what time it is there, microseconds since 1970; pick one well between two steps.
        move: sets its time; None where it always tells all it has.
        restate: while entered, part of its history is told with other values; None where it
            cannot do that.
    """

    api: str | Callable[[], str] | httpx.AsyncBaseTransport
    now: int
    move: Callable[[int], None] | None = None
    restate: Callable[[], AbstractContextManager[None]] | None = None

    @property
    def base_url(self) -> str | None:
        """The address to ask; None where a transport answers."""
        if isinstance(self.api, httpx.AsyncBaseTransport):
            return None
        return self.api if isinstance(self.api, str) else self.api()


@dataclass(frozen=True, kw_only=True)
class ProviderCase:
    """A provider, what stands for its API, and what is asked in its checks.

    Attributes:
        provider: with the options it is to be checked with.
        stand_in: what stands for its API.
        days: how far back to ask.
        interval: candles to ask for.
        symbols: instruments to ask for; empty for those of its options.
        assets: what the instruments known so far are about.
        absent: declared metrics that do not come of the stand-in, or not about all that is asked.
        unknown: options that ask about what the API does not know; None for its own ``symbols``
            or ``assets``, empty where there is no such thing.
        unknown_names: what a problem line has to name then.
        key_form: how a key is made of the secret in it, where it has a form: ``user:{}``.
        pages: options that make pages small; None for its own ``page_size``.
        own_metrics: metrics it brings that `weft.domain.vocabulary` does not have.
        expected: rows that one fetch has to bring, if they are known from elsewhere: no more of
            these kinds, no fewer, no others.
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
        """The earliest instant asked for, microseconds since 1970."""
        return Interval.parse(self.interval).floor(self.stand_in.now - int(self.days * DAY))

    def made(self, **options: Any) -> Provider:  # noqa: ANN401  # options of any component
        """Return the provider afresh, remembering nothing, with some options changed."""
        config = self.provider.config
        own = {name: getattr(config, name) for name in config.model_fields_set}
        if self.stand_in.base_url is not None:
            own["base_url"] = self.stand_in.base_url
        return type(self.provider)(type(config).model_validate({**own, **options}))

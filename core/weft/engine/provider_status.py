"""How every source of a composition is doing: for the API and the command line."""

from collections.abc import Mapping
from dataclasses import dataclass

from weft.components.provider import Provider
from weft.engine.engine import Engine
from weft.foundation.times import iso
from weft.sources.http.status import SourceState, SourceStatus


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """How one provider is doing. Instants are microseconds since 1970.

    Attributes:
        name: its key in config.yaml.
        kind: real, sandbox or synthetic.
        source: name its rows are stored under.
        state: of its API (see `weft.sources.http.status.SourceState`); ``local`` where it has none.
        last_success: when it last answered; None where it has not, or has no API.
        latency_seconds: median of its last answers.
        left: units left of each rate limit.
        requests: asked for since the start.
        stale: answered with an older answer than asked for, from the cache or one on the way.
        newest_candle: close of its newest candle that is stored.
        newest_fact: event time of its newest observation that is stored.
        new: facts it brought in the last round.
        restated: facts it brought with another value than before in the last round.
        problems: which stored candles it says otherwise about by now, what the source refuses for
            longer, what was refused or repaired in the last round, then the latest of what was in
            the data of its streams, or missed by them.
        error: why it stopped early, or its last request failed; None where neither.
    """

    name: str
    kind: str
    source: str
    state: str
    last_success: int | None
    latency_seconds: float | None
    left: Mapping[str, int]
    requests: int
    stale: int
    newest_candle: int | None
    newest_fact: int | None
    new: int
    restated: int
    problems: tuple[str, ...]
    error: str | None


def provider_status(engine: Engine) -> list[ProviderStatus]:
    """Return how each provider of a composition is doing, in the order of their preference."""
    asked = {status.name: status for status in engine.collector.connections.status()}
    return [
        _status(engine, configured.component, asked.get(configured.component.key))
        for configured in engine.composition.providers
    ]


def _status(engine: Engine, provider: Provider, asked: SourceStatus | None) -> ProviderStatus:
    latest = engine.collector.latest.get(provider.key)
    error = latest.error if latest else None
    if error is None and asked and asked.state is not SourceState.OK:
        error = asked.last_error
    state = "local" if provider.web is None else "idle"
    opens = [span.last for span in engine.market.known_spans(provider.source).values()]
    base = engine.composition.base.micros
    lines = latest.problems if latest else ()
    standing = engine.collector.connections.standing(provider.key)
    streamed = engine.collector.streamed.get(provider.key, ())
    return ProviderStatus(
        name=provider.key,
        kind=provider.source_kind.value,
        source=provider.source,
        state=asked.state.value if asked else state,
        last_success=asked.last_success if asked else None,
        latency_seconds=asked.latency_seconds if asked else None,
        left=asked.left if asked else {},
        requests=asked.requests if asked else 0,
        stale=asked.stale if asked else 0,
        newest_candle=max(opens) + base if opens else None,
        newest_fact=engine.collector.newest_fact(provider.source),
        new=latest.new if latest else 0,
        restated=latest.restated if latest else 0,
        problems=(
            *_corrections(engine, provider.source),
            *(line for line in standing if line not in lines),
            *lines,
            *(f"streams: {line}" for line in streamed),
        ),
        error=error,
    )


def _corrections(engine: Engine, source: str) -> list[str]:
    """Return a line for each symbol with candles that the source corrected after they were used."""
    return [
        f"{symbol}: {len(late.opened)} candle{'s' * (len(late.opened) != 1)} changed later in the "
        f"source, or vanished from it, first at {iso(int(late.opened[0]))}; "
        "the first version counts"
        for (whose, symbol), late in sorted(engine.market.corrected.items(), key=lambda kv: kv[0])
        if whose == source
    ]

"""Status of the providers of a composition, for the API and the command line."""

from collections.abc import Mapping
from dataclasses import dataclass

from weft.components.provider import Provider
from weft.engine.engine import Engine
from weft.foundation.times import iso
from weft.sources.http.status import SourceState, SourceStatus


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """Status of a provider. Instants are microseconds since 1970.

    Attributes:
        name: its key in config.yaml.
        kind: real, sandbox or synthetic.
        source: name under which its rows are stored.
        state: of its API (see `weft.sources.http.status.SourceState`); ``local`` without an API.
        last_success: time of its last answer; None before the first, or without an API.
        latency_seconds: median of its last answers.
        left: units left of each rate limit, by name.
        requests: number since the start.
        stale: requests served with an older answer, from the cache or from a request under way.
        newest_candle: close of its newest stored candle.
        newest_fact: event time of its newest stored observation.
        new: facts of the last round.
        restated: facts of the last round that replaced another value.
        problems: corrections of stored candles, standing refusals of the source, values refused
            or repaired in the last round, then the latest problems of its streams.
        error: why the last round or request failed; None without a failure.
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
    """Return the status of each provider of a composition, the preferred ones first."""
    by_name = {status.name: status for status in engine.collector.connections.status()}
    return [
        _status(engine, configured.component, by_name.get(configured.component.key))
        for configured in engine.composition.providers
    ]


def _status(engine: Engine, provider: Provider, api: SourceStatus | None) -> ProviderStatus:
    latest = engine.collector.latest.get(provider.key)
    error = latest.error if latest else None
    if error is None and api and api.state is not SourceState.OK:
        error = api.last_error
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
        state=api.state.value if api else state,
        last_success=api.last_success if api else None,
        latency_seconds=api.latency_seconds if api else None,
        left=api.left if api else {},
        requests=api.requests if api else 0,
        stale=api.stale if api else 0,
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
    """Return a line for each symbol with candles that the source corrected after their use."""
    return [
        f"{symbol}: {len(late.opened)} candle{'s' * (len(late.opened) != 1)} changed later in the "
        f"source, or vanished from it, first at {iso(int(late.opened[0]))}; "
        "the first version counts"
        for (whose, symbol), late in sorted(engine.market.corrected.items(), key=lambda kv: kv[0])
        if whose == source
    ]

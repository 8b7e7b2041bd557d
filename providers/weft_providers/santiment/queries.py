"""Santiment's GraphQL: one query of several, and what is said of those that fail."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weft.foundation.times import iso
from weft.sources.http import HttpResponse, errors
from weft.sources.http.api import Headers
from weft.sources.series import Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http

_SAID: Mapping[str, type[errors.SourceError]] = {
    "not an existing slug": errors.UnlistedSymbolError,
    "outside the allowed interval": errors.NotCoveredError,
    "not accessible with the currently used": errors.NotCoveredError,
    "not included in the currently used": errors.NotCoveredError,
    "alpha phase": errors.NotCoveredError,
    "beta phase": errors.NotCoveredError,
    "alpha/beta phase": errors.NotCoveredError,
    "is not supported": errors.RefusedError,
    "too complex": errors.RefusedError,
}
_MOST_TOLD = 200
_AGAIN = re.compile(r"[Tt]ry again in ([0-9]{1,9}) seconds")


def meaning(status: int, body: Any, _: Headers) -> type[errors.SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return what an answer stands for; errors come with HTTP 200, as a list or an object."""
    told = (body or {}).get("errors") or []
    text = json.dumps(told)
    if status in {400, 401} and "apikey" in text.lower():
        return errors.UnauthorisedError
    if status != 200 or not told:
        return None
    if isinstance(told, Mapping):
        return errors.UnavailableError
    # What is wrong with a single query costs the others nothing, and is told where it is read.
    alone = all(error.get("path") for error in told)
    return None if alone else _kind(text) or errors.RefusedError


def waits(body: Any, _: Headers, __: int) -> float | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the seconds that a refusal names in its text."""
    told = _AGAIN.search(json.dumps(body["errors"]))
    return float(told[1]) if told else None


async def held_back(http: "Http", now: int) -> dict[str, int]:
    """Return how long the plan holds which metrics back, in microseconds; empty if unknown."""
    try:
        query = {"query": "{ getAccessRestrictions { name restrictedTo } }"}
        answer = await http.post("/graphql", json=query)
    except errors.RefusedError:
        return {}
    if answer.read.has("errors"):
        return {}
    return {
        row.text("name"): now - row.instant("restrictedTo", unit="iso")
        for row in answer.read.rows("data", "getAccessRestrictions")
        if row.has("restrictedTo")
    }


def timeseries(alias: str, one: Wanted, start: int, end: int, *, computed_at: bool) -> str:
    """Return the part of a query that asks for one series."""
    extra = one.series.extra
    version = f", version: {json.dumps(extra['version'])}" if "version" in extra else ""
    given = {"slug": one.own_id, "from": iso(start), "to": iso(end), "interval": one.series.step}
    parts = [f"{name}: {json.dumps(value)}" for name, value in given.items()]
    parts += [f"aggregation: {extra['aggregation']}"] if "aggregation" in extra else []
    parts += ["includeComputedAt: true"] if computed_at else []
    metric = f"getMetric(metric: {json.dumps(one.series.path)}{version})"
    return f"{alias}: {metric} {{ timeseriesDataJson({', '.join(parts)}) }}"


def refused(answer: HttpResponse) -> dict[str, errors.SourceError]:
    """Return what is wrong with the queries that failed, by alias.

    A plain `SourceError` says nothing about whether asking again would help.
    """
    if not answer.read.has("errors"):
        return {}
    found = {}
    for row in answer.read.rows("errors"):
        # Advice about plans follows in further paragraphs.
        first = row.text("message").strip().partition("\n")[0]
        told = answer.redact(" ".join(first.split()))[:_MOST_TOLD]
        found[row.text("path", 0)] = (_kind(told) or errors.SourceError)(told)
    return found


def _kind(text: str) -> type[errors.SourceError] | None:
    return next((kind for part, kind in _SAID.items() if part in text), None)

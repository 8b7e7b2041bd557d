"""Requests of a provider, without the key."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import httpx
import orjson

from weft.sources.http.redact import Redactor

Param: TypeAlias = str | int | float | bool | None
Params: TypeAlias = Mapping[str, Param | Sequence[str | int | float]]
"""Query parameters; None values are left out."""

Form: TypeAlias = Literal["json", "bytes"]
"""Form of the response body: parsed JSON, or bytes for feeds and CSV."""

_LONGEST_DESCRIPTION = 160


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request of a provider.

    Attributes:
        method: GET or POST.
        url: address without the key.
        content: request body.
        headers: headers beside the usual ones.
        ttl: greatest age of a cached response in seconds; None for no caching.
        cost: units of the rate limits that the request takes.
        form: form of the response body.
        what: description for messages, without secrets.
        cache_key: digest of what decides the response, without secrets; "" without caching.
        group: group of the request, for rate limits with `RateLimit.only`.
    """

    method: Literal["GET", "POST"]
    url: httpx.URL
    content: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    ttl: float | None
    cost: int
    form: Form
    what: str
    cache_key: str
    group: str = ""


def make_url(base: httpx.URL, path: str, params: Params | None) -> httpx.URL:
    """Return the address of a path below a base address.

    Raises:
        ValueError: the path does not begin with exactly one slash, or contains a query.
    """
    if not path.startswith("/") or path.startswith("//") or set(path) & set("?#\\"):
        raise ValueError(f"a path begins with one slash and has no query; use params: {path!r}")
    given = {name: value for name, value in (params or {}).items() if value is not None}
    address = f"{base}".rstrip("/") + path
    return httpx.URL(address, params=given) if given else httpx.URL(address)


def describe(method: str, url: httpx.URL, redact: Redactor) -> str:
    """Return a request's method and path for messages, without secrets."""
    target = redact(url.raw_path.decode("ascii"))
    ellipsis = "..." if len(target) > _LONGEST_DESCRIPTION else ""
    return f"{method} {target[:_LONGEST_DESCRIPTION]}{ellipsis}"


def cache_key(
    method: str,
    url: httpx.URL,
    content: bytes | None,
    headers: Mapping[str, str],
    form: Form,
    redact: Redactor,
) -> str:
    """Return a digest of what decides the response; the order of parameters does not matter."""
    parts: list[Any] = [
        method,
        f"{url.scheme}://{url.netloc.decode()}{url.path}",
        sorted(url.params.multi_items()),
        (content or b"").decode(errors="replace"),
        sorted((name.lower(), value) for name, value in headers.items()),
        form,
    ]
    return hashlib.sha256(redact(orjson.dumps(parts).decode()).encode()).hexdigest()

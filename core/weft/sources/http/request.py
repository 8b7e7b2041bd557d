"""A request as a provider put it, before any key is near it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import httpx
import orjson

from weft.sources.http.redact import Redactor

Param: TypeAlias = str | int | float | bool | None
Params: TypeAlias = Mapping[str, Param | Sequence[str | int | float]]
"""Query parameters; those that are None are left out."""

Form: TypeAlias = Literal["json", "bytes"]
"""How a body is taken: parsed as JSON, or as it is, for feeds and CSV."""

_LONGEST_WHAT = 160


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request of a provider.

    Attributes:
        method: GET or POST.
        url: without any key.
        content: the body sent.
        headers: sent besides the usual ones.
        ttl: seconds an answer may be old; None to keep none.
        cost: units it takes of the rate limits.
        form: how the body is taken.
        what: the request for messages, without secrets.
        cache_key: digest of everything above that decides the answer, without secrets; empty
            where none is kept.
        group: which of the limits for a group of requests alone counts it.
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
    """Return the address of a path below a base.

    Raises:
        ValueError: the path does not begin with one slash, or brings its own query.
    """
    if not path.startswith("/") or path.startswith("//") or set(path) & set("?#\\"):
        raise ValueError(f"a path begins with one slash and has no query of its own: {path!r}")
    wanted = {name: value for name, value in (params or {}).items() if value is not None}
    address = f"{base}".rstrip("/") + path
    return httpx.URL(address, params=wanted) if wanted else httpx.URL(address)


def describe(method: str, url: httpx.URL, redact: Redactor) -> str:
    """Return a request as messages name it."""
    target = redact(url.raw_path.decode("ascii"))
    return f"{method} {target[:_LONGEST_WHAT]}{'...' if len(target) > _LONGEST_WHAT else ''}"


def cache_key(
    method: str,
    url: httpx.URL,
    content: bytes | None,
    headers: Mapping[str, str],
    form: Form,
    redact: Redactor,
) -> str:
    """Return a digest of what decides the answer; the order of parameters does not."""
    parts: list[Any] = [
        method,
        f"{url.scheme}://{url.netloc.decode()}{url.path}",
        sorted(url.params.multi_items()),
        (content or b"").decode(errors="replace"),
        sorted((name.lower(), value) for name, value in headers.items()),
        form,
    ]
    return hashlib.sha256(redact(orjson.dumps(parts).decode()).encode()).hexdigest()

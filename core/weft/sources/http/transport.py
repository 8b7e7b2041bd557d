"""The connection: adds the key where nobody else sees it, and only for the API's own host."""

import re
import ssl
from functools import cache
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from weft.foundation.errors import ConfigError
from weft.sources.http.api import Api, HeaderKey, QueryKey

_HOST = re.compile(r"[\w.:-]+")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class KeyedTransport(httpx.AsyncBaseTransport):
    """Sends requests with the key added on the last step.

    The client above, which logs URLs and hangs requests on its errors, never holds the key.

    Args:
        inner: sends what it is given.
        base: the API's address; requests to any other origin go out without the key.
        place: where the key goes.
        key: the key itself.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        base: httpx.URL,
        place: HeaderKey | QueryKey,
        key: SecretStr,
    ) -> None:
        self._inner = inner
        self._base = base
        self._place = place
        self._key = key

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, with the key if it goes to the API's own host."""
        if not same_origin(request.url, self._base):
            return await self._inner.handle_async_request(request)
        url, headers = request.url, request.headers.copy()
        secret = self._key.get_secret_value()
        if isinstance(self._place, HeaderKey):
            headers[self._place.name] = self._place.prefix + secret
        else:
            own = f"{quote(self._place.name, safe='')}={quote(secret, safe='')}".encode()
            url = url.copy_with(query=url.query + b"&" + own if url.query else own)
        return await self._inner.handle_async_request(
            httpx.Request(
                request.method,
                url,
                headers=headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def open_transport(
    api: Api, base: httpx.URL, key: SecretStr | None, tls: ssl.SSLContext | None
) -> httpx.AsyncBaseTransport:
    """Return a transport for one API that takes nothing from the environment."""
    inner = httpx.AsyncHTTPTransport(
        verify=tls or _public_authorities(),
        trust_env=False,
        limits=httpx.Limits(max_connections=api.concurrent),
    )
    if api.key is None or key is None:
        return inner
    return KeyedTransport(inner, base, api.key, key)


@cache
def _public_authorities() -> ssl.SSLContext:
    """Return whom to trust by default; reading them anew for each client takes a while."""
    return httpx.create_ssl_context(trust_env=False)


def check_base(where: str, text: str, key: SecretStr | None) -> httpx.URL:
    """Return a base address without its last slash.

    Raises:
        ConfigError: it is no http(s) address, holds a password, a query or a fragment, or would
            send a key over the network in the clear.
    """
    try:
        base = httpx.URL(text.rstrip("/"))
    except httpx.InvalidURL:
        base = httpx.URL()
    if base.scheme not in {"http", "https"} or not _HOST.fullmatch(base.host):
        raise ConfigError("base_url is no http(s) address", where=where)
    if base.userinfo or base.query or base.fragment:
        raise ConfigError("base_url holds a password, a query or a fragment", where=where)
    if key is not None and base.scheme == "http" and base.host not in _LOOPBACK:
        hint = "Use https"
        raise ConfigError("base_url would send the key in the clear", where=where, hint=hint)
    return base


def check_key(where: str, key: SecretStr | None) -> SecretStr | None:
    """Return a key without blanks around it, or None where it is empty.

    Raises:
        ConfigError: it holds characters that no key has.
    """
    text = key.get_secret_value().strip() if key else ""
    if not text:
        return None
    # Libraries below would quote a broken header in their errors.
    if not (text.isascii() and text.isprintable()):
        hint = "Copy it again, without line breaks"
        raise ConfigError("the key holds characters that no key has", where=where, hint=hint)
    return SecretStr(text)


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether two addresses share scheme, host and port."""
    return _origin(one) == _origin(other)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)

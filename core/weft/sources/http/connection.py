"""One request over the network: the key added, the body bounded, every failure typed."""

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Self
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from weft.foundation.errors import ConfigError
from weft.foundation.version import __version__
from weft.sources.http.api import Api, HeaderKey, QueryKey
from weft.sources.http.errors import (
    InsecureError,
    MalformedError,
    RefusedError,
    SourceError,
    UnavailableError,
)
from weft.sources.http.redact import Redactor
from weft.sources.http.retry import Deadline

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


_GZIP_OR_ZLIB, _RAW = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS

_ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate")


class TooLargeError(ValueError):
    """The body is larger than it may be, before or after decompression."""


class CutOffError(ValueError):
    """The body ends before its compressed form says it should."""


class EncodingError(ValueError):
    """The body is compressed in a way not asked for, or not as it says."""


async def read_body(chunks: AsyncIterator[bytes], encoding: str, largest: int) -> bytes:
    """Return a body, decompressed, holding no more than `largest` bytes and a chunk in memory.

    The HTTP library decompresses a whole chunk at a time, which lets 64 KB grow to 64 MB, and
    twice compressed to much more. Here it grows to `largest` and no further.

    Args:
        chunks: as they came.
        encoding: the Content-Encoding.
        largest: in bytes, of the body as it came and of what it becomes.

    Raises:
        TooLargeError: it is larger.
        CutOffError: the compressed body ends early.
        EncodingError: it is compressed in another way, or not at all.
    """
    encoding = encoding.strip().lower()
    if encoding not in _ENCODINGS:
        raise EncodingError(f"compressed as {encoding[:40]!r}, which was not asked for")
    inflate = _Inflate(largest) if encoding not in _ENCODINGS[:2] else None
    body, came = bytearray(), 0
    async for chunk in chunks:
        came += len(chunk)
        body += inflate.feed(chunk, largest - len(body)) if inflate else chunk
        if max(came, len(body)) > largest:
            raise TooLargeError(f"larger than {largest} bytes")
    if inflate and came and not inflate.complete:
        raise CutOffError("the compressed body ends early")
    return bytes(body)


class _Inflate:
    """Decompresses gzip, several members of it, and both forms of deflate."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._inner = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._begun = False

    @property
    def complete(self) -> bool:
        return self._inner.eof

    def feed(self, chunk: bytes, room: int) -> bytes:
        """Return what a chunk becomes, or one byte more than `room` where it is more than that."""
        grown = bytearray()
        while chunk:
            if self._inner.eof:
                self._inner, self._begun = zlib.decompressobj(_GZIP_OR_ZLIB), False
            grown += self._inflate(chunk, room + 1 - len(grown))
            if len(grown) > room:
                break
            chunk = self._inner.unused_data if self._inner.eof else b""
        return bytes(grown)

    def _inflate(self, chunk: bytes, most: int) -> bytes:
        try:
            grown = self._inner.decompress(chunk, most)
        except zlib.error:
            if self._begun:
                raise EncodingError("broken compression") from None
        else:
            self._begun = True
            return grown
        # Some servers send deflate without its two-byte head.
        self._inner, self._begun = zlib.decompressobj(_RAW), True
        try:
            return self._inner.decompress(chunk, most)
        except zlib.error:
            raise EncodingError("broken compression") from None


_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Reply:
    """What came: status, headers with names in lower case and no secret in them, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Connection:
    """Sends requests to one host, and reads what comes within its bounds.

    Args:
        where: the provider, for messages.
        api: deadlines and sizes.
        base: the API's address.
        key: sent with each request to that address.
        tls: whom to trust; the public authorities where None.
        redact: applied to headers and messages.
    """

    def __init__(
        self,
        where: str,
        api: Api,
        base: httpx.URL,
        key: SecretStr | None,
        tls: ssl.SSLContext | None,
        redact: Redactor,
    ) -> None:
        self._where = where
        self._api = api
        self._redact = redact
        self._client = httpx.AsyncClient(
            transport=open_transport(api, base, key, tls),
            timeout=httpx.Timeout(api.read_seconds, connect=api.connect_seconds, pool=None),
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={
                "user-agent": f"weft/{__version__}",
                "accept": "application/json, */*;q=0.5",
                "accept-encoding": "gzip, deflate",
            },
        )

    async def send(self, request: httpx.Request, what: str, deadline: Deadline) -> Reply:
        """Return what came, after a few redirects within the host.

        Raises:
            UnavailableError: no connection, cut off, or not finished by the deadline.
            InsecureError: TLS does not vouch for the host.
            RefusedError: redirected elsewhere, or too often.
            MalformedError: too large, or compressed in an unknown way.
        """
        failure: SourceError
        try:
            with deadline:
                async with asyncio.timeout(deadline.left_seconds):
                    return await self._follow(request, what)
        except TimeoutError:
            failure = self._failed(
                UnavailableError, what, f"did not finish in {self._api.deadline_seconds:g} s"
            )
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            failure = self._network(what, error)
        except CutOffError as error:
            failure = self._failed(UnavailableError, what, str(error))
        except (TooLargeError, EncodingError) as error:
            failure = self._failed(MalformedError, what, f"answered a body {error}")
        # Outside, so that no library's error, with whatever it quotes, hangs on this one.
        raise failure

    def build(
        self, method: str, url: httpx.URL, content: bytes | None, headers: Mapping[str, str]
    ) -> httpx.Request:
        """Return a request that can be sent any number of times."""
        return self._client.build_request(method, url, content=content, headers=dict(headers))

    async def _follow(self, request: httpx.Request, what: str) -> Reply:
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._client.send(request, stream=True)
            try:
                if answer.status_code not in _REDIRECTS or "location" not in answer.headers:
                    encoding = answer.headers.get("content-encoding", "")
                    largest = self._api.largest_bytes
                    told_length = answer.headers.get("content-length", "")
                    if told_length.isdecimal() and int(told_length) > largest:
                        raise TooLargeError(f"larger than {largest} bytes")
                    body = await read_body(answer.aiter_raw(), encoding, largest)
                    told = {k.lower(): self._redact(v) for k, v in answer.headers.items()}
                    return Reply(answer.status_code, told, body)
            finally:
                await answer.aclose()
            request = self._redirected(request, answer, what)
        raise self._failed(RefusedError, what, f"was redirected more than {_MOST_REDIRECTS} times")

    def _redirected(
        self, request: httpx.Request, answer: httpx.Response, what: str
    ) -> httpx.Request:
        to = request.url.join(answer.headers["location"])
        upgraded = request.url.copy_with(scheme="https", port=None)
        if not same_origin(to, request.url) and not same_origin(to, upgraded):
            place = f"{to.scheme}://{to.host}"
            raise self._failed(RefusedError, what, f"was redirected to {place}, and did not follow")
        if request.method != "GET" and answer.status_code not in {307, 308}:
            raise self._failed(RefusedError, what, "was redirected in a way that loses its body")
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        return self._client.build_request(
            request.method, to, headers=headers, content=request.content
        )

    def _network(self, what: str, error: Exception) -> SourceError:
        # First, since below a connection that timed out lies a TLS handshake that wanted more.
        if isinstance(error, httpx.ConnectTimeout):
            told = f"no connection within {self._api.connect_seconds:g} s"
            return self._failed(UnavailableError, what, told)
        if isinstance(error, httpx.TimeoutException):
            told = f"silent for {self._api.read_seconds:g} s"
            return self._failed(UnavailableError, what, told)
        below: BaseException | None = error
        while below is not None:
            if isinstance(below, ssl.SSLCertVerificationError):
                return self._failed(InsecureError, what, f"TLS: {below.verify_message}")
            if isinstance(below, ssl.SSLError):
                return self._failed(InsecureError, what, f"TLS: {below.reason}")
            if isinstance(below, socket.gaierror):
                return self._failed(UnavailableError, what, "its host name was not found")
            below = below.__cause__ or below.__context__
        if isinstance(error, httpx.ConnectError):
            told = "no connection"
        elif isinstance(error, httpx.RemoteProtocolError):
            told = "cut off in the middle, or no HTTP"
        else:
            told = f"the network failed, {type(error).__name__}"
        return self._failed(UnavailableError, what, told)

    def _failed(self, kind: type[SourceError], what: str, told: str) -> SourceError:
        return kind(self._redact(f"{what}: {told}"), where=self._where)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

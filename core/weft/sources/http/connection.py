"""One request over the network: adds the key, bounds the body, and types every failure."""

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
    """Adds the key to a request immediately before it is sent.

    The client above logs URLs and attaches requests to its errors; it never has the key.

    Args:
        inner: transport that sends the request.
        base: address of the API; requests to any other origin are sent without the key.
        place: place of the key in the request.
        key: API key.
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
        """Send a request, with the key if its origin is that of the API."""
        if not same_origin(request.url, self._base):
            return await self._inner.handle_async_request(request)
        url, headers = request.url, request.headers.copy()
        secret = self._key.get_secret_value()
        if isinstance(self._place, HeaderKey):
            headers[self._place.name] = self._place.prefix + secret
        else:
            pair = f"{quote(self._place.name, safe='')}={quote(secret, safe='')}".encode()
            url = url.copy_with(query=url.query + b"&" + pair if url.query else pair)
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
    """Return a transport for one API that ignores proxies and certificates of the environment."""
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
    """Return the public authorities; cached because loading them for each client is slow."""
    return httpx.create_ssl_context(trust_env=False)


def check_base(where: str, text: str, key: SecretStr | None) -> httpx.URL:
    """Return a base address without its last slash.

    Raises:
        ConfigError: the text is no http(s) address, contains a password, query or fragment, or
            would send a key unencrypted over the network.
    """
    try:
        base = httpx.URL(text.rstrip("/"))
    except httpx.InvalidURL:
        base = httpx.URL()
    if base.scheme not in {"http", "https"} or not _HOST.fullmatch(base.host):
        raise ConfigError("base_url is no http(s) address", where=where)
    if base.userinfo or base.query or base.fragment:
        raise ConfigError("base_url contains a password, a query or a fragment", where=where)
    if key is not None and base.scheme == "http" and base.host not in _LOOPBACK:
        hint = "Use https"
        raise ConfigError("base_url would send the key unencrypted", where=where, hint=hint)
    return base


def check_key(where: str, key: SecretStr | None) -> SecretStr | None:
    """Return a key without surrounding blanks, or None for an empty key.

    Raises:
        ConfigError: the key contains line breaks, control or non-ASCII characters.
    """
    text = key.get_secret_value().strip() if key else ""
    if not text:
        return None
    # The libraries below would quote an invalid header, and so the key, in their errors.
    if not (text.isascii() and text.isprintable()):
        hint = "Copy the key again, without line breaks"
        raise ConfigError("the key contains characters that no key has", where=where, hint=hint)
    return SecretStr(text)


def same_origin(first: httpx.URL, second: httpx.URL) -> bool:
    """Whether two addresses share scheme, host and port."""
    return _origin(first) == _origin(second)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


_GZIP_OR_ZLIB, _RAW = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS

_ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate")


class TooLargeError(ValueError):
    """The body exceeds the size limit, before or after decompression."""


class CutOffError(ValueError):
    """The compressed body is incomplete."""


class EncodingError(ValueError):
    """The body's compression is unsupported or broken."""


async def read_body(chunks: AsyncIterator[bytes], encoding: str, largest: int) -> bytes:
    """Return a decompressed body, with at most `largest` bytes and one chunk in memory.

    httpx decompresses a complete chunk at a time, so 64 KB may grow to 64 MB; this function stops
    at `largest`.

    Args:
        chunks: raw chunks of the body.
        encoding: the Content-Encoding.
        largest: size limit in bytes, before and after decompression.

    Raises:
        TooLargeError: the body exceeds the limit.
        CutOffError: the compressed body is incomplete.
        EncodingError: the compression is unsupported or broken.
    """
    encoding = encoding.strip().lower()
    if encoding not in _ENCODINGS:
        raise EncodingError(f"compressed as {encoding[:40]!r}, which the client does not accept")
    inflate = _Inflate(largest) if encoding not in _ENCODINGS[:2] else None
    body, received = bytearray(), 0
    async for chunk in chunks:
        received += len(chunk)
        body += inflate.feed(chunk, largest - len(body)) if inflate else chunk
        if max(received, len(body)) > largest:
            raise TooLargeError(f"larger than {largest} bytes")
    if inflate and received and not inflate.complete:
        raise CutOffError("the compressed body ends early")
    return bytes(body)


class _Inflate:
    """Decompresses gzip, also of several members, and both forms of deflate."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._inner = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._begun = False

    @property
    def complete(self) -> bool:
        return self._inner.eof

    def feed(self, chunk: bytes, room: int) -> bytes:
        """Return the decompressed chunk, cut at one byte more than `room`."""
        output = bytearray()
        while chunk:
            if self._inner.eof:
                self._inner, self._begun = zlib.decompressobj(_GZIP_OR_ZLIB), False
            output += self._inflate(chunk, room + 1 - len(output))
            if len(output) > room:
                break
            chunk = self._inner.unused_data if self._inner.eof else b""
        return bytes(output)

    def _inflate(self, chunk: bytes, most: int) -> bytes:
        try:
            output = self._inner.decompress(chunk, most)
        except zlib.error:
            if self._begun:
                raise EncodingError("broken compression") from None
        else:
            self._begun = True
            return output
        # Some servers send deflate without its two-byte header.
        self._inner, self._begun = zlib.decompressobj(_RAW), True
        try:
            return self._inner.decompress(chunk, most)
        except zlib.error:
            raise EncodingError("broken compression") from None


_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: status, headers (lower-case names, no secrets), and the decompressed body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Connection:
    """Sends requests to one host and reads the replies.

    Args:
        where: name of the provider, for messages.
        api: the API, with its timeouts and sizes.
        base: address of the API.
        key: API key, sent with each request to that address.
        tls: trusted certificates; None for the public authorities.
        redact: removes secrets from headers and messages.
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
        """Send a request and return the reply, after up to 3 redirects within the host.

        Raises:
            UnavailableError: no connection, reply cut off, or not complete by the deadline.
            InsecureError: the TLS certificate is not trusted.
            RefusedError: redirected to another host, or too often.
            MalformedError: body too large, or in an unsupported compression.
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
        # Outside the except clauses: a chained library error might quote a secret.
        raise failure

    def build(
        self, method: str, url: httpx.URL, content: bytes | None, headers: Mapping[str, str]
    ) -> httpx.Request:
        """Return a request that can be sent any number of times."""
        return self._client.build_request(method, url, content=content, headers=dict(headers))

    async def _follow(self, request: httpx.Request, what: str) -> Reply:
        for _ in range(_MOST_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    encoding = response.headers.get("content-encoding", "")
                    largest = self._api.largest_bytes
                    length = response.headers.get("content-length", "")
                    if length.isdecimal() and int(length) > largest:
                        raise TooLargeError(f"larger than {largest} bytes")
                    body = await read_body(response.aiter_raw(), encoding, largest)
                    headers = {k.lower(): self._redact(v) for k, v in response.headers.items()}
                    return Reply(response.status_code, headers, body)
            finally:
                await response.aclose()
            request = self._redirected(request, response, what)
        raise self._failed(RefusedError, what, f"was redirected more than {_MOST_REDIRECTS} times")

    def _redirected(
        self, request: httpx.Request, response: httpx.Response, what: str
    ) -> httpx.Request:
        to = request.url.join(response.headers["location"])
        upgraded = request.url.copy_with(scheme="https", port=None)
        if not same_origin(to, request.url) and not same_origin(to, upgraded):
            place = f"{to.scheme}://{to.host}"
            raise self._failed(RefusedError, what, f"was redirected to {place}, and did not follow")
        if request.method != "GET" and response.status_code not in {307, 308}:
            status = response.status_code
            problem = f"was redirected with HTTP {status}, which would drop its body"
            raise self._failed(RefusedError, what, problem)
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        return self._client.build_request(
            request.method, to, headers=headers, content=request.content
        )

    def _network(self, what: str, error: Exception) -> SourceError:
        # First: the cause of a connect timeout may be an SSL error of the unfinished handshake.
        if isinstance(error, httpx.ConnectTimeout):
            problem = f"no connection within {self._api.connect_seconds:g} s"
            return self._failed(UnavailableError, what, problem)
        if isinstance(error, httpx.TimeoutException):
            problem = f"silent for {self._api.read_seconds:g} s"
            return self._failed(UnavailableError, what, problem)
        below: BaseException | None = error
        while below is not None:
            if isinstance(below, ssl.SSLCertVerificationError):
                return self._failed(InsecureError, what, f"TLS: {below.verify_message}")
            if isinstance(below, ssl.SSLError):
                return self._failed(InsecureError, what, f"TLS: {below.reason}")
            if isinstance(below, socket.gaierror):
                return self._failed(UnavailableError, what, "its host name does not resolve")
            below = below.__cause__ or below.__context__
        if isinstance(error, httpx.ConnectError):
            problem = "no connection"
        elif isinstance(error, httpx.RemoteProtocolError):
            problem = "cut off in the middle, or no HTTP"
        else:
            problem = f"the network failed, {type(error).__name__}"
        return self._failed(UnavailableError, what, problem)

    def _failed(self, kind: type[SourceError], what: str, problem: str) -> SourceError:
        return kind(self._redact(f"{what}: {problem}"), where=self._where)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

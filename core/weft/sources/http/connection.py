"""One request over the network, and every way it can fail there, typed."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Self

import httpx
from pydantic import SecretStr

from weft.foundation.version import __version__
from weft.sources.http.api import Api
from weft.sources.http.body import CutOffError, EncodingError, TooLargeError, read_body
from weft.sources.http.errors import (
    InsecureError,
    MalformedError,
    RefusedError,
    SourceError,
    UnavailableError,
)
from weft.sources.http.redact import Redactor
from weft.sources.http.retry import Deadline
from weft.sources.http.transport import open_transport, same_origin

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

"""Requests as sent: parameters, headers, body and key."""

import pytest
from pydantic import SecretStr

from tests.core.sources.http.server import aio, client, reply, serving
from weft.foundation.errors import ConfigError
from weft.sources.http.api import Api, HeaderKey, QueryKey

OK = reply({"a": 1})
KEY = SecretStr("key-of-nobody")


@aio
async def test_parameters_headers_and_bodies_arrive() -> None:
    async with serving(OK) as server, client(server) as http:
        await http.get(
            "/a b/ü",
            params={"s": "BTC/USD", "n": None, "l": [1, 2], "f": True},
            headers={"X-A": "b"},
        )
        await http.post("/graphql", json={"query": "{x}"}, params={"v": 2})
        got, posted = server.seen
        assert got.target == "/a%20b/%C3%BC?s=BTC%2FUSD&l=1&l=2&f=true"
        assert (got.headers["x-a"], got.headers["user-agent"][:5]) == ("b", "weft/")
        assert (posted.method, posted.target, posted.body) == (
            "POST",
            "/graphql?v=2",
            b'{"query":"{x}"}',
        )
        assert posted.headers["content-type"] == "application/json"


@aio
async def test_a_base_address_may_have_a_path() -> None:
    async with serving(OK) as server, client(server.url + "/api/v3/") as http:
        await http.get("/x")
        assert server.seen[0].target == "/api/v3/x"


@pytest.mark.parametrize("path", ["x", "", "//evil.example/x", "https://evil.example", "/x?a=1"])
def test_a_path_stays_below_the_base(path: str) -> None:
    @aio
    async def check() -> None:
        async with client("https://vendor.example") as http:
            with pytest.raises(ValueError, match="one slash"):
                await http.get(path)

    check()


@pytest.mark.parametrize(
    ("place", "target", "header"),
    [
        (HeaderKey("X-Key"), "/x?a=1", ("x-key", "key-of-nobody")),
        (
            HeaderKey("Authorization", "Bearer "),
            "/x?a=1",
            ("authorization", "Bearer key-of-nobody"),
        ),
        (QueryKey("api_key"), "/x?a=1&api_key=key-of-nobody", None),
    ],
)
def test_the_key_is_sent_as_declared(
    place: HeaderKey | QueryKey, target: str, header: tuple[str, str] | None
) -> None:
    @aio
    async def check() -> None:
        async with serving(OK) as server:
            api = Api(base_url=server.url, key=place)
            async with client(server, api=api, key=SecretStr(" key-of-nobody\n")) as http:
                await http.get("/x", params={"a": 1})
            async with client(server, api=api, key=SecretStr("")) as http:
                await http.get("/x")
            assert server.seen[0].target == target
            assert header is None or header in server.seen[0].headers.items()
            assert server.seen[1].target == "/x"
            assert header is None or header[0] not in server.seen[1].headers

    check()


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("ftp://vendor.example", KEY),
        ("vendor.example", KEY),
        ("https://user:pw@vendor.example", KEY),
        ("https://vendor.example?x=1", KEY),
        ("http://vendor.example", KEY),
        ("https://[", KEY),
        ("https://vendor.example", SecretStr("line\nbreak")),
        ("https://vendor.example", SecretStr("schlüssel")),
    ],
)
def test_an_invalid_address_or_key_is_refused(url: str, key: SecretStr) -> None:
    with pytest.raises(ConfigError) as caught:
        client(url, api=Api(base_url="", key=HeaderKey("k")), key=key, base_url=url)
    assert key.get_secret_value() not in str(caught.value)


@aio
async def test_cookies_are_not_sent_back() -> None:
    async with serving(reply({}, set_cookie="session=1")) as server, client(server) as http:
        await http.get("/x")
        await http.get("/x")
        assert "cookie" not in server.seen[1].headers

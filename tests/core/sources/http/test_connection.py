"""Bodies of one request: encodings, size limits, incomplete bodies."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.sources.http.server import aio
from weft.sources.http.connection import CutOffError, EncodingError, TooLargeError, read_body

MB = 1 << 20


async def chunked(body: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@given(body=st.binary(max_size=200), size=st.integers(1, 50))
def test_accepted_encodings_are_decoded(body: bytes, size: int) -> None:
    forms = {
        "": body,
        "Identity": body,
        "gzip": gzip.compress(body),
        "x-gzip": gzip.compress(body[:50]) + gzip.compress(body[50:]),
        "deflate": zlib.compress(body),
    }

    @aio
    async def check() -> None:
        for encoding, form in forms.items():
            assert await read_body(chunked(form, size), encoding, 200) == body
        complete = chunked(raw_deflate(body), 1 << 16)
        assert await read_body(complete, "deflate", 200) == body

    check()


@aio
async def test_a_compression_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(64 * MB), 1)
    assert len(bomb) < MB
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        await read_body(chunked(bomb), "gzip", MB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * MB


@aio
async def test_an_endless_body_stops_at_the_limit() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)

    with pytest.raises(TooLargeError):
        await read_body(endless(), "", 10_000)


@aio
async def test_an_incomplete_compressed_body_is_refused() -> None:
    with pytest.raises(CutOffError):
        await read_body(chunked(gzip.compress(b"x" * 100)[:-9]), "gzip", MB)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("br", b"x"), ("gzip, gzip", b"x"), ("gzip", b"\x00\x01plain"), ("zstd", b"")],
)
def test_an_unsupported_or_broken_encoding_is_refused(encoding: str, body: bytes) -> None:
    @aio
    async def check() -> None:
        with pytest.raises(EncodingError):
            await read_body(chunked(body), encoding, MB)

    check()

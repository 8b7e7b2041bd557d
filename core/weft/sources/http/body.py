"""Reads a body that may be endless, cut off, or a bomb."""

import zlib
from collections.abc import AsyncIterator

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

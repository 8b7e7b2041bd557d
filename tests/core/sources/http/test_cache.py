"""Answers on disk: shared, bounded, never trusted further than their digest."""

import asyncio
import contextlib
import os
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import diskcache  # type: ignore[import-untyped]  # it publishes no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.sources.http.server import NOW, aio
from weft.sources.http.cache import CachedResponse, ResponseCache, _pack, _unpack

LARGE = os.urandom(200_000)


def kept(body: bytes = b'{"a": 1}') -> CachedResponse:
    return CachedResponse(NOW, NOW - 5, 1.5, {"etag": '"x"'}, body)


@pytest.mark.parametrize("body", [b"", b"small\nwith lines\n", LARGE])
def test_what_is_kept_comes_back_also_to_another_process(tmp_path: Path, body: bytes) -> None:
    @aio
    async def check() -> None:
        async with ResponseCache(tmp_path) as one, ResponseCache(tmp_path) as other:
            await one.put("k", kept(body))
            assert await other.get("k") == kept(body)
            assert await other.get("another") is None

    check()
    script = (
        "import asyncio, sys, pathlib\nfrom weft.sources.http.cache import ResponseCache\n"
        "async def main():\n"
        "    async with ResponseCache(pathlib.Path(sys.argv[1])) as c:\n"
        "        print(len((await c.get('k')).body))\n"
        "asyncio.run(main())"
    )
    if body is LARGE:
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(len(body))


@given(data=st.data())
def test_a_record_that_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    record = _pack("k", kept())
    assert _unpack("k", record) == kept()
    at = data.draw(st.integers(0, len(record) - 1))
    changed = data.draw(
        st.sampled_from([record[:at], record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]])
    )
    with pytest.raises(ValueError, match=r"cut off|unexpected|zero"):
        _unpack("k", changed)
    with pytest.raises(ValueError, match="another"):
        _unpack("other", record)


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("unpickled",)


@aio
async def test_a_pickle_in_the_folder_is_a_miss_and_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cache"
    async with ResponseCache(folder) as cache:
        await cache.put("small", kept())
        await cache.put("large", kept(LARGE))
    with contextlib.closing(diskcache.Cache(str(folder))) as raw:
        raw["small"] = Bomb()
        raw["large"] = [Bomb()] * 10_000
        raw["text"], raw["number"] = "text", 5
    assert pickle.dumps(Bomb())
    async with ResponseCache(folder) as cache:
        for key in ("small", "large", "text", "number"):
            assert await cache.get(key) is None
        await cache.put("small", kept())
        assert await cache.get("small") == kept()
    assert not (tmp_path / "unpickled").exists()


def _cut_values(folder: Path) -> None:
    for file in folder.rglob("*.val"):
        file.write_bytes(file.read_bytes()[:1000])


def _remove_values(folder: Path) -> None:
    for file in folder.rglob("*.val"):
        file.unlink()


def _point_elsewhere(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "cache.db")) as db, db:
        db.execute("UPDATE Cache SET filename = '/etc/hostname' WHERE filename IS NOT NULL")


def _break_database(folder: Path) -> None:
    for file in folder.glob("cache.db*"):
        file.write_bytes(b"no database " * 1000)


def _make_unusable(folder: Path) -> None:
    _break_database(folder)
    (folder / "cache.db").unlink()
    (folder / "cache.db").mkdir()


@pytest.mark.parametrize(
    "harm", [_cut_values, _remove_values, _point_elsewhere, _break_database, _make_unusable]
)
def test_a_broken_cache_is_a_miss(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    @aio
    async def check() -> None:
        async with ResponseCache(tmp_path) as cache:
            await cache.put("k", kept(LARGE))
        harm(tmp_path)
        async with ResponseCache(tmp_path) as cache:
            assert await cache.get("k") is None
            await cache.put("k", kept(LARGE))
            await cache.get("k")

    check()


@aio
async def test_a_full_cache_lets_the_oldest_go(tmp_path: Path) -> None:
    async with ResponseCache(tmp_path, size_limit_bytes=1 << 20) as cache:
        for number in range(30):
            await cache.put(str(number), kept(LARGE))
        assert await cache.get("0") is None
        assert await cache.get("29") == kept(LARGE)
    assert len(list(tmp_path.rglob("*.val"))) < 10  # noqa: ASYNC240  # a few files


@aio
async def test_many_at_once(tmp_path: Path) -> None:
    async with ResponseCache(tmp_path) as one, ResponseCache(tmp_path) as other:
        await asyncio.gather(
            *(c.put(str(n % 5), kept(LARGE)) for n in range(20) for c in (one, other))
        )
        for n in range(5):
            assert await one.get(str(n)) == await other.get(str(n)) == kept(LARGE)

"""The lake: whole commits or none, on any path, and one kind of error for all that can go wrong."""

import contextlib
import logging
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake
from deltalake.table import TableOptimizer
from polars.testing import assert_frame_equal

from weft.foundation.errors import StorageError
from weft.foundation.times import HOUR
from weft.store import lake as lake_module
from weft.store.lake import Lake, Query
from weft.store.tables import CANDLES, CURSORS, OBSERVATIONS, Table

EVERYTHING: Query = lambda rows: rows.sort("open_time", "symbol", "known_at")  # noqa: E731  # a query is a value


def candles(first: int, count: int, source: str = "binance", interval: str = "1h") -> pl.DataFrame:
    """Candles whose prices tell which ones they are."""
    opened = [(first + k) * HOUR for k in range(count)]
    price = [float(first + k) for k in range(count)]
    return pl.DataFrame(
        {
            "source": [source] * count,
            "interval": [interval] * count,
            "symbol": ["BTCUSDT"] * count,
            "open_time": opened,
            **dict.fromkeys(("open", "high", "low", "close", "volume"), price),
            "known_at": [t + HOUR for t in opened],
            "recorded_at": [t + HOUR for t in opened],
        },
        schema=CANDLES.schema,
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def files_of(lake: Lake, table: Table = CANDLES) -> list[Path]:
    return sorted((Path(lake.url) / table.name).rglob("*.parquet"))


def commits_of(lake: Lake, table: Table = CANDLES) -> list[Path]:
    return sorted((Path(lake.url) / table.name / "_delta_log").glob("*.json"))


def test_what_is_appended_is_read_back(lake: Lake) -> None:
    assert lake.append(CANDLES, candles(0, 5))
    assert lake.append(CANDLES, candles(5, 3, "kraken"))
    assert_frame_equal(
        lake.read(CANDLES, EVERYTHING), pl.concat([candles(0, 5), candles(5, 3, "kraken")])
    )


def test_a_table_nothing_was_written_to_is_empty_and_typed(lake: Lake) -> None:
    found = lake.read(CANDLES, EVERYTHING)
    assert (len(found), found.schema) == (0, CANDLES.schema)
    assert lake.append(CANDLES, candles(0, 0))
    assert lake.snapshot(CANDLES).version == -1


def test_columns_are_brought_into_order_and_type(lake: Lake) -> None:
    mixed = candles(0, 2).select(reversed(list(CANDLES.schema)))
    lake.append(CANDLES, mixed.with_columns(pl.col("volume").cast(pl.Int32)))
    assert_frame_equal(lake.read(CANDLES, EVERYTHING), candles(0, 2))


def test_only_the_partitions_asked_for_are_read(lake: Lake) -> None:
    for source in ("a", "b"):
        for interval in ("1h", "4h"):
            lake.append(CANDLES, candles(0, 2, source, interval))
    found = lake.read(CANDLES, EVERYTHING, {"source": ["b", "c"], "interval": ["4h"]})
    assert_frame_equal(found, candles(0, 2, "b", "4h"))
    for other in files_of(lake):
        if "source=b/interval=4h" not in str(other):
            other.unlink()
    assert len(lake.read(CANDLES, EVERYTHING, {"source": ["b"], "interval": ["4h"]})) == 2
    assert lake.read(CANDLES, EVERYTHING, {"source": ["c"]}).is_empty()


def test_a_snapshot_does_not_show_what_is_committed_after_it(lake: Lake) -> None:
    nothing = lake.snapshot(CANDLES)
    lake.append(CANDLES, candles(0, 2))
    one = lake.snapshot(CANDLES)
    lake.append(CANDLES, candles(2, 2))
    lake.compact()
    assert nothing.version < one.version < lake.snapshot(CANDLES).version
    assert lake.read(nothing, EVERYTHING).is_empty()
    assert_frame_equal(lake.read(one, EVERYTHING), candles(0, 2))
    assert len(lake.read(CANDLES, EVERYTHING)) == 4


# Writers


def test_a_writer_that_missed_a_commit_of_its_own_name_writes_nothing(lake: Lake) -> None:
    for first in (0, 4):  # when the table is new, and when it is there
        seen = lake.snapshot(CANDLES)
        assert lake.append(CANDLES, candles(first, 2), seen=seen, writer="binance")
        assert not lake.append(CANDLES, candles(first + 2, 2), seen=seen, writer="binance")
        assert lake.append(CANDLES, candles(first + 2, 2, "kraken"), seen=seen, writer="kraken")
    stored = lake.read(CANDLES, EVERYTHING)
    assert stored["open"].to_list() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


def test_a_compaction_in_between_is_no_conflict(lake: Lake) -> None:
    lake.append(CANDLES, candles(0, 2))
    lake.append(CANDLES, candles(2, 2))
    seen = lake.snapshot(CANDLES)
    lake.compact()
    assert lake.append(CANDLES, candles(4, 2), seen=seen, writer="binance")
    assert len(lake.read(CANDLES, EVERYTHING)) == 6


def test_readers_see_whole_commits_while_a_writer_appends(lake: Lake) -> None:
    lake.append(CANDLES, candles(0, 10))
    heights: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            heights.append(len(lake.read(CANDLES, EVERYTHING)))

    reader = threading.Thread(target=read)
    reader.start()
    for batch in range(1, 15):
        lake.append(CANDLES, candles(10 * batch, 10))
        if batch == 8:
            lake.compact()
    done.set()
    reader.join()
    assert heights
    assert heights == sorted(heights)
    assert all(height % 10 == 0 for height in heights)


# Upkeep


def test_compaction_joins_files_and_keeps_contents(lake: Lake) -> None:
    for first in range(12):
        lake.append(CANDLES, candles(first, 1))
        lake.append(CANDLES, candles(first, 1, "kraken"))
    before = lake.read(CANDLES, lambda rows: rows.sort("source", "open_time"))
    lake.compact()
    lake.compact()
    assert_frame_equal(lake.read(CANDLES, lambda r: r.sort("source", "open_time")), before)
    delta = lake.snapshot(CANDLES).delta
    assert delta is not None
    assert len(delta.file_uris()) == 2
    assert len(files_of(lake)) == 26  # readers may still be on those that were replaced


def test_of_two_compactions_at_once_one_gives_way(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else both results would stay, and every row would be there twice."""
    for first in range(6):
        lake.append(CANDLES, candles(first, 1))
    compact, came = TableOptimizer.compact, list[int]()

    def interrupted(self: TableOptimizer, *rest: Any, **options: Any) -> dict[str, Any]:
        came.append(1)
        Lake(lake.url).compact()
        return compact(self, *rest, **options)

    monkeypatch.setattr(TableOptimizer, "compact", interrupted)
    lake.compact()
    assert came == [1]
    lake.compact()
    assert came == [1, 1]
    assert_frame_equal(lake.read(CANDLES, EVERYTHING), candles(0, 6))


def test_files_replaced_long_ago_are_removed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "_HOURS_REPLACED_FILES_STAY", 0)
    for first in range(6):
        lake.append(CANDLES, candles(first, 1))
    lake.compact()
    assert len(files_of(lake)) == 1
    assert_frame_equal(lake.read(CANDLES, EVERYTHING), candles(0, 6))


def test_compacting_a_lake_without_tables_does_nothing(lake: Lake) -> None:
    lake.compact()
    assert list(Path(lake.url).iterdir()) == []


def test_a_lake_compacts_itself_however_often_the_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "_COMMITS_BEFORE_COMPACTION", 6)
    most = 0
    for first in range(30):
        lake = Lake(tmp_path)
        lake.append(CANDLES, candles(first, 1))
        delta = lake.snapshot(CANDLES).delta
        assert delta is not None
        most = max(most, len(delta.file_uris()))
    assert most <= 8
    assert_frame_equal(Lake(tmp_path).read(CANDLES, EVERYTHING), candles(0, 30))


def test_a_compaction_that_fails_does_not_fail_the_append_before_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lake_module, "_COMMITS_BEFORE_COMPACTION", 2)

    def fail(tables: object) -> None:
        raise StorageError("the disk is slow today")

    monkeypatch.setattr(lake, "compact", fail)
    with caplog.at_level(logging.WARNING):
        assert all(lake.append(CANDLES, candles(first, 1)) for first in range(4))
    assert "slow today" in caplog.text
    assert len(lake.read(CANDLES, EVERYTHING)) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="looks file names up in /proc")
def test_a_commit_is_on_disk_before_append_returns(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def record(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record)
    lake.append(CANDLES, candles(0, 2, "a/b c"))
    root = Path(lake.url).resolve()
    written = {p.resolve() for p in [*files_of(lake), *commits_of(lake)]}
    assert len(written) == 3  # the table, the rows, and the commit that adds them
    assert written <= set(synced)
    assert {root, root / "candles", root / "candles" / "_delta_log"} <= set(synced)


# Places

FOLDERS = [
    "plain",
    "a space",
    "umläut é",
    "日本",
    "50% off",
    "a=b",
    "#1?",
    "it's",
    "star*",
    "~home",
]
SOURCES = ["files:/data/x y", "a/../b", "50%41", "ü=1&b", "null", " ", "*"]


@pytest.mark.parametrize("name", FOLDERS)
def test_any_usual_folder_name_will_do(tmp_path: Path, name: str) -> None:
    lake = Lake(tmp_path / name / "lake")
    lake.append(CANDLES, candles(0, 2))
    assert lake.append(CANDLES, candles(2, 2), seen=lake.snapshot(CANDLES), writer="w")
    lake.compact()
    assert_frame_equal(Lake(str(tmp_path / name / "lake")).read(CANDLES, EVERYTHING), candles(0, 4))
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("source", SOURCES)
def test_any_source_name_will_do(lake: Lake, source: str) -> None:
    lake.append(CANDLES, candles(0, 2, "other"))
    lake.append(CANDLES, candles(2, 2, source))
    lake.compact()
    found = lake.read(CANDLES, EVERYTHING, {"source": [source]})
    assert_frame_equal(found, candles(2, 2, source))


@pytest.mark.parametrize("name", ["%41", "a[b", "a]b", "a\\b", "a^b", "a|b", "a\nb", "a\x7fb"])
def test_a_folder_in_which_delta_tables_get_lost_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match=r"storage\.lake.*Choose another folder"):
        Lake(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    Lake((tmp_path / "a b").as_uri()).append(CANDLES, candles(0, 1))
    assert len(Lake(tmp_path / "a b").read(CANDLES, EVERYTHING)) == 1


def test_a_relative_folder_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lake = Lake("lake")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    lake.append(CANDLES, candles(0, 1))
    assert len(Lake(tmp_path / "lake").read(CANDLES, EVERYTHING)) == 1


def test_an_object_store_url_is_left_as_it_is() -> None:
    assert Lake("s3://bucket/weft/").url == "s3://bucket/weft"


# What can go wrong


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot create the folder.*can be written"):
        Lake(tmp_path / "taken" / "lake")


def test_a_table_that_cannot_be_written_is_told(lake: Lake) -> None:
    (Path(lake.url) / "candles").write_text("a file")
    with pytest.raises(StorageError, match=r"could not (read|write).* candles") as caught:
        lake.append(CANDLES, candles(0, 2))
    assert "\n" not in str(caught.value)
    assert str(lake.url) in str(caught.value)


def test_an_unreachable_store_is_told(lake: Lake) -> None:
    nowhere = Lake("nosuchscheme://bucket/weft")
    with pytest.raises(StorageError):
        nowhere.append(CANDLES, candles(0, 2))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def scribble(path: Path) -> None:
    path.write_bytes(b"\xff\x00garbage" * 30)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "garbage": scribble,
    "cut": truncate,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("how", [*DAMAGE, "empty"])
def test_a_damaged_data_file_is_told_and_never_half_read(lake: Lake, how: str) -> None:
    lake.append(CANDLES, candles(0, 50))
    lake.append(CANDLES, candles(50, 50))
    (DAMAGE | {"empty": lambda path: os.truncate(path, 0)})[how](files_of(lake)[0])
    with pytest.raises(StorageError, match="could not read candles") as caught:
        lake.read(CANDLES, EVERYTHING)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["garbage", "cut"])
def test_a_damaged_commit_is_told_to_readers_and_writers(lake: Lake, how: str) -> None:
    lake.append(CANDLES, candles(0, 2))
    lake.append(CANDLES, candles(2, 2))
    DAMAGE[how](commits_of(lake)[-1])
    with pytest.raises(StorageError, match="could not read candles"):
        lake.read(CANDLES, EVERYTHING)
    with pytest.raises(StorageError):
        lake.append(CANDLES, candles(4, 2))
    with pytest.raises(StorageError):
        lake.compact()


def test_a_missing_first_commit_is_told(lake: Lake) -> None:
    lake.append(CANDLES, candles(0, 2))
    lake.append(CANDLES, candles(2, 2))
    commits_of(lake)[0].unlink()
    with pytest.raises(StorageError, match="could not read candles"):
        lake.read(CANDLES, EVERYTHING)


@pytest.mark.parametrize("seed", range(3))
def test_however_a_file_is_damaged_only_storage_errors_come_out(lake: Lake, seed: int) -> None:
    lake.append(CANDLES, candles(0, 20))
    rng = random.Random(seed)
    for path in (files_of(lake)[0], commits_of(lake)[0]):
        sound = path.read_bytes()
        for _ in range(25):
            damaged = bytearray(sound)
            for _ in range(rng.choice([1, 5, 50])):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            path.write_bytes(damaged)
            with contextlib.suppress(StorageError):
                lake.read(CANDLES, EVERYTHING)
        path.write_bytes(sound)
    assert_frame_equal(lake.read(CANDLES, EVERYTHING), candles(0, 20))


def test_files_without_a_commit_are_not_read(lake: Lake) -> None:
    lake.append(CANDLES, candles(0, 2))
    stray = files_of(lake)[0].with_name("part-stray.snappy.parquet")
    stray.write_bytes(files_of(lake)[0].read_bytes())
    log = commits_of(lake)[0].parent
    (log / "_commit_3f2a.json.tmp").write_text('{"add": {"path": "part-')
    assert_frame_equal(lake.read(CANDLES, EVERYTHING), candles(0, 2))


def test_a_folder_of_files_without_any_commit_is_an_empty_table(lake: Lake) -> None:
    folder = Path(lake.url) / "candles" / "source=binance" / "interval=1h"
    folder.mkdir(parents=True)
    candles(0, 2).write_parquet(folder / "part.parquet")
    assert lake.read(CANDLES, EVERYTHING).is_empty()
    lake.append(CANDLES, candles(5, 2))
    assert_frame_equal(lake.read(CANDLES, EVERYTHING), candles(5, 2))


def test_a_commit_that_lost_its_content_with_the_power_is_no_commit(lake: Lake) -> None:
    """Append had not returned, or the commit would be on disk; so nobody was told it was there."""
    lake.append(CANDLES, candles(0, 2))
    lake.append(CANDLES, candles(2, 2))
    os.truncate(commits_of(lake)[-1], 0)
    assert_frame_equal(lake.read(CANDLES, EVERYTHING), candles(0, 2))
    lake.append(CANDLES, candles(4, 2))
    assert lake.read(CANDLES, EVERYTHING)["open"].to_list() == [0.0, 1.0, 4.0, 5.0]


def test_a_table_another_tool_moved_to_a_later_protocol_is_refused(lake: Lake) -> None:
    write_deltalake(
        f"{lake.url}/cursors",
        pl.DataFrame(schema=CURSORS.schema),
        mode="append",
        configuration={"delta.enableDeletionVectors": "true"},
    )
    with pytest.raises(StorageError, match="later version of the Delta protocol"):
        lake.read(CURSORS, lambda rows: rows)


def test_a_mistake_in_this_program_stays_what_it_is(lake: Lake) -> None:
    lake.append(OBSERVATIONS, pl.DataFrame(schema=OBSERVATIONS.schema))

    def mistaken(rows: pl.LazyFrame) -> pl.LazyFrame:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lake.read(CANDLES, mistaken)


FULL = """
import signal, sys
import polars as pl
from weft.foundation.errors import StorageError
from weft.store.lake import Lake
from weft.store.tables import CANDLES
import resource

lake = Lake(sys.argv[1])
rows = lake.read(CANDLES, lambda rows: rows)
many = pl.concat([rows] * 500).with_columns(volume=pl.int_range(pl.len()).cast(pl.Float64).sqrt())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
try:
    lake.append(CANDLES, many)
except StorageError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert len(lake.read(CANDLES, lambda rows: rows)) == len(rows)
lake.append(CANDLES, rows)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on file sizes")
def test_a_full_disk_is_told_and_costs_nothing_that_was_there(lake: Lake) -> None:
    lake.append(CANDLES, candles(0, 20))
    done = subprocess.run(
        [sys.executable, "-c", FULL, lake.url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "could not write 10000 rows to candles" in done.stdout
    assert len(lake.read(CANDLES, EVERYTHING)) == 40

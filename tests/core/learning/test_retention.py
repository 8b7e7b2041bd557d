"""Artifacts nobody will ask for again go, and no other: real folders, and the real ledger."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.components.trained import Artifact
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, iso, parse_time
from weft.learning.artifacts import Artifacts, FolderCheckpoints, StoredArtifact
from weft.learning.champions import PROMOTION
from weft.learning.records import TRAINING
from weft.learning.retention import never_used, remove_unneeded
from weft.ledger.ledger import Entry, Ledger
from weft.store.lock import only_one

NOW = parse_time("2026-04-01T00:00:00Z")
KEY = "models.plain"


class Shelf:
    """Artifacts of one component, and what the ledger says of them."""

    def __init__(self, folder: Path) -> None:
        self.clock = SimulatedClock(NOW)
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db", self.clock)
        self.artifacts = Artifacts(folder / "models")
        self.folder = folder / "models" / KEY

    def keep(self, number: int) -> StoredArtifact:
        return self.artifacts.keep(
            KEY, Artifact({"learnt.json": f"{number}".encode()}, {}), {"number": number}
        )

    def note(self, kept: StoredArtifact, row: int, *, promoted: bool = False) -> StoredArtifact:
        self.clock.advance_to(self.clock.now() + 1)
        through = iso(NOW + row * HOUR)
        body = {"artifact": kept.digest, "promoted": promoted, "trained_through": through}
        self.ledger.note(TRAINING, KEY, through, body)
        return kept

    def promote(self, kept: StoredArtifact) -> None:
        self.clock.advance_to(self.clock.now() + 1)
        self.ledger.note(PROMOTION, KEY, iso(NOW), {"artifact": kept.digest})

    def train(self, number: int) -> StoredArtifact:
        return self.note(self.keep(number), number)

    def remove(self, trained: StoredArtifact, most: int) -> list[str]:
        return remove_unneeded(self.artifacts, self.ledger, KEY, trained, most)

    def there(self) -> set[str]:
        """Return what whoever lists the folder sees, but for the lock."""
        return {path.name for path in self.folder.iterdir()} - {".lock"}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.mark.parametrize(("most", "left"), [(0, 1), (1, 1), (2, 2), (5, 5), (9, 8)])
def test_the_newest_stay_and_older_ones_go(shelf: Shelf, most: int, left: int) -> None:
    made = [shelf.train(number) for number in range(8)]
    gone = shelf.remove(made[-1], most)
    assert shelf.there() == {kept.digest for kept in made[8 - left :]}
    assert sorted(gone) == sorted(kept.digest for kept in made[: 8 - left])
    assert all(shelf.artifacts.read(KEY, kept.digest) for kept in made[8 - left :])


def test_what_a_promotion_names_stays_and_so_does_what_is_about_to_be_promoted(
    shelf: Shelf,
) -> None:
    made = [shelf.keep(number) for number in range(6)]
    for number, kept in enumerate(made):
        shelf.note(kept, number, promoted=number == 1)
    shelf.promote(made[3])
    shelf.remove(made[5], 0)
    assert shelf.there() == {made[number].digest for number in (1, 3, 5)}


def test_what_the_ledger_does_not_know_stays(shelf: Shelf) -> None:
    """It may be on its way there, or be another's; nor is anything of another component touched."""
    underway, other = shelf.keep(100), shelf.artifacts.keep("sizer", Artifact({}, {}), {})
    (shelf.folder / ".new-abc" / "whole").mkdir(parents=True)
    (shelf.folder / ".new-abc" / "whole" / "learnt.json").write_bytes(b"1")
    checkpoints = FolderCheckpoints(shelf.artifacts.folder / "unfinished" / KEY, {"rows": 1})
    checkpoints.save({"half.json": b"{}"})
    made = [shelf.train(number) for number in range(3)]
    shelf.remove(made[2], 0)
    assert shelf.there() == {underway.digest, made[2].digest, ".new-abc"}
    assert (shelf.folder / ".new-abc" / "whole" / "learnt.json").read_bytes() == b"1"
    assert checkpoints.load() == {"half.json": b"{}"}
    assert shelf.artifacts.digests("sizer") == [other.digest]


def test_the_one_trained_on_the_latest_rows_stays(shelf: Shelf) -> None:
    """Trainings as of earlier rows do not push out what the next one goes on from."""
    latest = shelf.train(50)
    for number in range(4):
        early = shelf.train(number)
    shelf.remove(early, 1)
    assert shelf.there() == {latest.digest, early.digest}


def test_one_promoted_at_the_last_moment_is_put_back(shelf: Shelf) -> None:
    made = [shelf.train(number) for number in range(4)]
    digests = [kept.digest for kept in made[:3]]

    def needed() -> set[str]:
        # Nobody finds them now; in this moment another process promotes one.
        assert shelf.artifacts.digests(KEY) == [made[3].digest]
        return {digests[1]}

    assert sorted(shelf.artifacts.remove(KEY, digests, needed)) == sorted(digests[::2])
    assert shelf.there() == {digests[1], made[3].digest}
    assert shelf.artifacts.read(KEY, digests[1]).artifact.files == made[1].artifact.files


def test_one_trained_to_the_same_that_was_removed_meanwhile_is_there_again(shelf: Shelf) -> None:
    kept = shelf.note(shelf.keep(1), 1, promoted=True)
    shutil.rmtree(shelf.folder / kept.digest)
    shelf.remove(kept, 0)
    assert shelf.artifacts.read(KEY, kept.digest).artifact.files == kept.artifact.files


def test_what_a_process_ended_midway_left_is_seen_to(shelf: Shelf) -> None:
    made = [shelf.train(number) for number in range(4)]
    aside = shelf.folder / ".old"
    aside.mkdir()
    for kept in made[:2]:
        (shelf.folder / kept.digest).rename(aside / kept.digest)
    shelf.promote(made[0])
    shelf.remove(made[3], 5)
    assert shelf.there() == {made[number].digest for number in (0, 2, 3)}


def test_nothing_is_removed_while_another_process_does(shelf: Shelf) -> None:
    made = [shelf.train(number) for number in range(4)]
    with only_one(shelf.folder / ".lock") as alone:
        assert alone
        assert shelf.remove(made[3], 0) == []
        assert len(shelf.there()) == 4
    assert len(shelf.remove(made[3], 0)) == 3


REMOVE = """
import sys
from pathlib import Path
from weft.learning.artifacts import Artifacts
folder, key, *digests = sys.argv[1:]
sys.stdin.readline()
print(*Artifacts(Path(folder)).remove(key, digests, lambda: digests[:1]))
"""


def test_two_processes_at_once_remove_each_artifact_once_and_what_is_needed_never(
    shelf: Shelf,
) -> None:
    digests = [shelf.keep(number).digest for number in range(60)]
    command = [sys.executable, "-c", REMOVE, str(shelf.artifacts.folder), KEY, *digests]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sorted(told[0] + told[1]) == sorted(digests[1:])
    assert shelf.there() == {digests[0]}
    shelf.artifacts.read(KEY, digests[0])


def test_what_cannot_be_removed_is_said_and_tried_again(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    made = [shelf.train(number) for number in range(4)]
    # In the way of the folder where they are set aside: that stops an administrator, too.
    blocked = shelf.folder / ".old"
    blocked.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert shelf.remove(made[3], 0) == []
    assert KEY in caplog.text
    assert str(blocked) in caplog.text
    assert shelf.there() == {".old", *(kept.digest for kept in made)}
    blocked.unlink()
    assert len(shelf.remove(made[3], 0)) == 3


def test_one_that_cannot_be_removed_does_not_keep_the_others(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    made = [shelf.train(number) for number in range(4)]
    stuck = shelf.folder / ".old" / made[1].digest
    stuck.parent.mkdir()
    stuck.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        gone = shelf.remove(made[3], 0)
    assert sorted(gone) == sorted(made[number].digest for number in (0, 2))
    assert str(stuck) in caplog.text
    shelf.artifacts.read(KEY, made[1].digest)
    stuck.unlink()
    assert shelf.remove(made[3], 0) == [made[1].digest]


def test_a_ledger_that_cannot_be_read_removes_nothing(
    shelf: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = [shelf.train(number) for number in range(4)]
    shelf.ledger.close()
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)
    for beside in ("ledger.db-wal", "ledger.db-shm"):
        (tmp_path / beside).unlink(missing_ok=True)
    with caplog.at_level(logging.WARNING):
        assert shelf.remove(made[3], 0) == []
    assert "the database refused" in caplog.text
    assert len(shelf.there()) == 4


def entry(seq: int, artifact: str, row: int) -> Entry:
    body = {"artifact": artifact, "promoted": False, "trained_through": iso(NOW + row * HOUR)}
    return Entry(seq, TRAINING, f"{seq}", KEY, iso(NOW), 0, 0, body, "")


def test_a_folder_that_cannot_be_listed_removes_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = [shelf.train(number) for number in range(4)]

    def iterdir(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Path, "iterdir", iterdir)
        assert shelf.remove(made[3], 0) == []
    assert f"the artifacts of {KEY} cannot be listed" in caplog.text
    assert len(shelf.there()) == 4


ARTIFACTS = st.sampled_from("abcdefgh")


@given(
    st.lists(st.tuples(ARTIFACTS, st.integers(0, 9)), min_size=1, max_size=20),
    st.sets(ARTIFACTS),
    st.integers(0, 6),
)
def test_what_is_never_removed(trained: list[tuple[str, int]], used: set[str], most: int) -> None:
    entries = [entry(seq, artifact, row) for seq, (artifact, row) in enumerate(trained, 1)]
    gone = never_used(entries, used, most)
    assert len(gone) == len(set(gone))
    assert not used & set(gone)
    assert trained[-1][0] not in gone
    assert any(a not in gone for a, row in trained if row == max(r for _, r in trained))
    unused = {artifact for artifact, _ in trained} - used
    left = len(unused) - len(gone)
    assert min(most, len(unused)) <= left <= most + 2
    # All that stays, but for those two, was trained later than all that goes.
    last = {artifact: seq for seq, (artifact, _) in enumerate(trained)}
    newer = [a for a in unused for g in gone[:1] if last[a] > last[g]]
    assert not gone or len(newer) >= most

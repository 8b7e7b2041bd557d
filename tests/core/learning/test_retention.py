"""Removal of unneeded artifacts, with real folders and a real ledger."""

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


class MemoryCheckpoints:
    """Artifacts of one component, and their rows in the ledger."""

    def __init__(self, folder: Path) -> None:
        self.clock = SimulatedClock(NOW)
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db", self.clock)
        self.artifacts = Artifacts(folder / "models")
        self.folder = folder / "models" / KEY

    def keep(self, number: int) -> StoredArtifact:
        return self.artifacts.keep(
            KEY, Artifact({"learnt.json": f"{number}".encode()}, {}), {"number": number}
        )

    def note(self, saved: StoredArtifact, row: int, *, promoted: bool = False) -> StoredArtifact:
        self.clock.advance_to(self.clock.now() + 1)
        through = iso(NOW + row * HOUR)
        body = {"artifact": saved.digest, "promoted": promoted, "trained_through": through}
        self.ledger.note(TRAINING, KEY, through, body)
        return saved

    def promote(self, saved: StoredArtifact) -> None:
        self.clock.advance_to(self.clock.now() + 1)
        self.ledger.note(PROMOTION, KEY, iso(NOW), {"artifact": saved.digest})

    def train(self, number: int) -> StoredArtifact:
        return self.note(self.keep(number), number)

    def remove(self, trained: StoredArtifact, most: int) -> list[str]:
        return remove_unneeded(self.artifacts, self.ledger, KEY, trained, most)

    def there(self) -> set[str]:
        """Return the names in the folder, except the lock."""
        return {path.name for path in self.folder.iterdir()} - {".lock"}


@pytest.fixture
def storage(tmp_path: Path) -> MemoryCheckpoints:
    return MemoryCheckpoints(tmp_path)


@pytest.mark.parametrize(("most", "left"), [(0, 1), (1, 1), (2, 2), (5, 5), (9, 8)])
def test_newest_unpromoted_artifacts_stay(storage: MemoryCheckpoints, most: int, left: int) -> None:
    built = [storage.train(number) for number in range(8)]
    gone = storage.remove(built[-1], most)
    assert storage.there() == {saved.digest for saved in built[8 - left :]}
    assert sorted(gone) == sorted(saved.digest for saved in built[: 8 - left])
    assert all(storage.artifacts.read(KEY, saved.digest) for saved in built[8 - left :])


def test_promoted_artifacts_stay(
    storage: MemoryCheckpoints,
) -> None:
    built = [storage.keep(number) for number in range(6)]
    for number, saved in enumerate(built):
        storage.note(saved, number, promoted=number == 1)
    storage.promote(built[3])
    storage.remove(built[5], 0)
    assert storage.there() == {built[number].digest for number in (1, 3, 5)}


def test_artifact_without_a_ledger_row_stays(storage: MemoryCheckpoints) -> None:
    """Its row may not be written yet; artifacts of other components stay as well."""
    underway, other = storage.keep(100), storage.artifacts.keep("sizer", Artifact({}, {}), {})
    (storage.folder / ".new-abc" / "whole").mkdir(parents=True)
    (storage.folder / ".new-abc" / "whole" / "learnt.json").write_bytes(b"1")
    checkpoints = FolderCheckpoints(storage.artifacts.folder / "unfinished" / KEY, {"rows": 1})
    checkpoints.save({"half.json": b"{}"})
    built = [storage.train(number) for number in range(3)]
    storage.remove(built[2], 0)
    assert storage.there() == {underway.digest, built[2].digest, ".new-abc"}
    assert (storage.folder / ".new-abc" / "whole" / "learnt.json").read_bytes() == b"1"
    assert checkpoints.load() == {"half.json": b"{}"}
    assert storage.artifacts.digests("sizer") == [other.digest]


def test_artifact_of_the_latest_rows_stays(storage: MemoryCheckpoints) -> None:
    """Trainings on earlier rows do not remove the artifact the next one continues from."""
    latest = storage.train(50)
    for number in range(4):
        early = storage.train(number)
    storage.remove(early, 1)
    assert storage.there() == {latest.digest, early.digest}


def test_artifact_promoted_meanwhile_is_restored(storage: MemoryCheckpoints) -> None:
    built = [storage.train(number) for number in range(4)]
    digests = [saved.digest for saved in built[:3]]

    def needed() -> set[str]:
        # The artifacts are aside now; another process promotes one of them.
        assert storage.artifacts.digests(KEY) == [built[3].digest]
        return {digests[1]}

    assert sorted(storage.artifacts.remove(KEY, digests, needed)) == sorted(digests[::2])
    assert storage.there() == {digests[1], built[3].digest}
    assert storage.artifacts.read(KEY, digests[1]).artifact.files == built[1].artifact.files


def test_identical_artifact_removed_meanwhile_is_written_again(storage: MemoryCheckpoints) -> None:
    saved = storage.note(storage.keep(1), 1, promoted=True)
    shutil.rmtree(storage.folder / saved.digest)
    storage.remove(saved, 0)
    assert storage.artifacts.read(KEY, saved.digest).artifact.files == saved.artifact.files


def test_leftovers_of_a_stopped_process_are_removed(storage: MemoryCheckpoints) -> None:
    built = [storage.train(number) for number in range(4)]
    aside = storage.folder / ".old"
    aside.mkdir()
    for saved in built[:2]:
        (storage.folder / saved.digest).rename(aside / saved.digest)
    storage.promote(built[0])
    storage.remove(built[3], 5)
    assert storage.there() == {built[number].digest for number in (0, 2, 3)}


def test_removal_waits_for_another_process(storage: MemoryCheckpoints) -> None:
    built = [storage.train(number) for number in range(4)]
    with only_one(storage.folder / ".lock") as alone:
        assert alone
        assert storage.remove(built[3], 0) == []
        assert len(storage.there()) == 4
    assert len(storage.remove(built[3], 0)) == 3


REMOVE = """
import sys
from pathlib import Path
from weft.learning.artifacts import Artifacts
folder, key, *digests = sys.argv[1:]
sys.stdin.readline()
print(*Artifacts(Path(folder)).remove(key, digests, lambda: digests[:1]))
"""


def test_concurrent_removals_keep_needed_artifacts(
    storage: MemoryCheckpoints,
) -> None:
    digests = [storage.keep(number).digest for number in range(60)]
    command = [sys.executable, "-c", REMOVE, str(storage.artifacts.folder), KEY, *digests]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    reports = [process.communicate(timeout=60)[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sorted(reports[0] + reports[1]) == sorted(digests[1:])
    assert storage.there() == {digests[0]}
    storage.artifacts.read(KEY, digests[0])


def test_failed_removal_is_logged_and_retried(
    storage: MemoryCheckpoints, caplog: pytest.LogCaptureFixture
) -> None:
    built = [storage.train(number) for number in range(4)]
    # A file in place of the folder for removal also stops an administrator.
    blocked = storage.folder / ".old"
    blocked.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert storage.remove(built[3], 0) == []
    assert KEY in caplog.text
    assert str(blocked) in caplog.text
    assert storage.there() == {".old", *(saved.digest for saved in built)}
    blocked.unlink()
    assert len(storage.remove(built[3], 0)) == 3


def test_failed_removal_does_not_stop_the_others(
    storage: MemoryCheckpoints, caplog: pytest.LogCaptureFixture
) -> None:
    built = [storage.train(number) for number in range(4)]
    stuck = storage.folder / ".old" / built[1].digest
    stuck.parent.mkdir()
    stuck.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        gone = storage.remove(built[3], 0)
    assert sorted(gone) == sorted(built[number].digest for number in (0, 2))
    assert str(stuck) in caplog.text
    storage.artifacts.read(KEY, built[1].digest)
    stuck.unlink()
    assert storage.remove(built[3], 0) == [built[1].digest]


def test_unreadable_ledger_removes_nothing(
    storage: MemoryCheckpoints, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built = [storage.train(number) for number in range(4)]
    storage.ledger.close()
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)
    for beside in ("ledger.db-wal", "ledger.db-shm"):
        (tmp_path / beside).unlink(missing_ok=True)
    with caplog.at_level(logging.WARNING):
        assert storage.remove(built[3], 0) == []
    assert "the database refused" in caplog.text
    assert len(storage.there()) == 4


def entry(seq: int, artifact: str, row: int) -> Entry:
    body = {"artifact": artifact, "promoted": False, "trained_through": iso(NOW + row * HOUR)}
    return Entry(seq, TRAINING, f"{seq}", KEY, iso(NOW), 0, 0, body, "")


def test_unlistable_folder_removes_nothing(
    storage: MemoryCheckpoints, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    built = [storage.train(number) for number in range(4)]

    def iterdir(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Path, "iterdir", iterdir)
        assert storage.remove(built[3], 0) == []
    assert f"the artifacts of {KEY} cannot be listed" in caplog.text
    assert len(storage.there()) == 4


ARTIFACTS = st.sampled_from("abcdefgh")


@given(
    st.lists(st.tuples(ARTIFACTS, st.integers(0, 9)), min_size=1, max_size=20),
    st.sets(ARTIFACTS),
    st.integers(0, 6),
)
def test_never_used_spares_promoted_and_newest(
    trained: list[tuple[str, int]], used: set[str], most: int
) -> None:
    entries = [entry(seq, artifact, row) for seq, (artifact, row) in enumerate(trained, 1)]
    gone = never_used(entries, used, most)
    assert len(gone) == len(set(gone))
    assert not used & set(gone)
    assert trained[-1][0] not in gone
    assert any(a not in gone for a, row in trained if row == max(r for _, r in trained))
    unused = {artifact for artifact, _ in trained} - used
    left = len(unused) - len(gone)
    assert min(most, len(unused)) <= left <= most + 2
    # Except for those two, every artifact that stays is newer than every removed one.
    last = {artifact: seq for seq, (artifact, _) in enumerate(trained)}
    newer = [a for a in unused for g in gone[:1] if last[a] > last[g]]
    assert not gone or len(newer) >= most

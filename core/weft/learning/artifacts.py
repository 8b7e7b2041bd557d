"""Artifacts on disk: a folder for each, named by the digest of all that is in it."""

import hashlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import orjson

from weft.components.trained import Artifact
from weft.foundation.errors import ArtifactError, StorageError, TrainingError
from weft.learning.cards import FORMAT, check_files, expect_provenance, read_card
from weft.store.lock import only_one

_CARD: Final = "card.json"
_LOCK: Final = ".lock"
_TRAINED: Final = ".training"
_ASIDE: Final = ".old"
_CACHED_CARDS: Final = 128

_log = logging.getLogger(__name__)

Signs: TypeAlias = tuple[tuple[str, int, int, int, int], ...]
"""Name, inode, size and times of each file of an artifact."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact and its model card.

    Attributes:
        digest: digest of the card, which holds the digests of all files.
        artifact: files of the component, and its part of the card.
        provenance: the engine's part of the card: component, options, rows, versions, trust.
    """

    digest: str
    artifact: Artifact
    provenance: Mapping[str, Any]


class Artifacts:
    """Artifacts of one engine on disk; loading one runs no code of it.

    Args:
        folder: folder of the artifacts; created with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._provenances: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._lock = threading.Lock()

    def keep(self, key: str, artifact: Artifact, provenance: Mapping[str, Any]) -> StoredArtifact:
        """Write an artifact, completely or not at all.

        Args:
            key: key of the component in config, such as ``models.transformer``.
            artifact: result of a training.
            provenance: the engine's part of the card, as JSON values.

        Raises:
            ArtifactError: a file is not of a safe format, or the card is not JSON.
            StorageError: the artifact cannot be written.
        """
        check_files(artifact, key)
        card = {
            "format": FORMAT,
            "key": key,
            "provenance": dict(provenance),
            "card": dict(artifact.card),
            "files": {name: _digest(content) for name, content in artifact.files.items()},
        }
        text = orjson.dumps(card, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
        digest = _digest(text)[:32]
        try:
            self._remove_damaged(key, digest)
            self._write(self._place(key, digest), {**artifact.files, _CARD: text})
        except OSError as error:
            raise self._unwritable(error) from error
        return StoredArtifact(digest, artifact, dict(provenance))

    @contextmanager
    def training(self, key: str) -> Iterator[None]:
        """Hold the training lock of a component while the block runs.

        Args:
            key: key of the component in config.

        Raises:
            TrainingError: another process trains the component.
            StorageError: the folder of the artifacts is not writable.
        """
        folder = self.folder / key
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(prefix=".new-", dir=folder):
                    pass
                locked = stack.enter_context(only_one(folder / _TRAINED))
            except OSError as error:
                raise self._unwritable(error) from error
            if not locked:
                raise TrainingError(
                    "is being trained by another process",
                    where=key,
                    hint="Wait until that training ends, or stop it, and train again",
                )
            yield

    def read(self, key: str, digest: str) -> StoredArtifact:
        """Return an artifact, checked against its digests.

        Raises:
            ArtifactError: the artifact is missing, damaged, or of another format.
        """
        folder, card = self._place(key, digest), self._card(key, digest)
        files = {name: self._file(folder, name) for name in card["files"]}
        for name, content in files.items():
            if _digest(content) != card["files"][name]:
                raise self._damaged(folder, f"{name} was changed since it was written")
        return StoredArtifact(digest, Artifact(files, card["card"]), card["provenance"])

    def provenance(self, key: str, digest: str) -> Mapping[str, Any]:
        """Return the engine's part of an artifact's card.

        Cards are cached, since a digest stands for one card. Other files are not read: only `read`
        checks that an artifact is undamaged.

        Raises:
            ArtifactError: the card is missing, damaged or of another format, or lacks a field on
                training, judging or trust.
        """
        with self._lock:
            cached = self._provenances.get((key, digest))
        if cached is not None:
            return cached
        provenance = MappingProxyType(self._card(key, digest)["provenance"])
        expect_provenance(provenance, self._where(self._place(key, digest)))
        with self._lock:
            self._provenances[key, digest] = provenance
            for old in list(self._provenances)[:-_CACHED_CARDS]:
                del self._provenances[old]
        return provenance

    def signs(self, key: str, digest: str) -> Signs:
        """Return signs that change when the files of an artifact change; no file is opened.

        Empty where the artifact has no folder.
        """
        try:
            with os.scandir(self._place(key, digest)) as files:
                states = [(file.name, file.stat()) for file in files]
        except OSError:
            return ()
        return tuple(
            sorted((n, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for n, s in states)
        )

    def digests(self, key: str) -> list[str]:
        """Return the digests of a component's artifacts.

        Raises:
            StorageError: the folder of the artifacts cannot be read.
        """
        folder = self.folder / key
        try:
            if not folder.is_dir():
                return []
            return sorted(path.name for path in folder.iterdir() if _has_card(path))
        except OSError as error:
            raise StorageError(
                f"the artifacts of {key} cannot be listed: {error.strerror}",
                where=f"folder {folder}",
                hint="Make the folder readable, or set storage.models to another folder",
            ) from error

    def remove(
        self, key: str, digests: Iterable[str], needed: Callable[[], Collection[str]]
    ) -> list[str]:
        """Remove artifacts of a component, and return the removed digests.

        Only one process removes at a time; in others the call does nothing. An artifact that cannot
        be removed is logged, and removed by a later call.

        Args:
            key: key of the component in config.
            digests: digests of the artifacts.
            needed: returns the digests still needed; called after the artifacts were moved aside,
                and these are moved back. A process that starts to need an artifact must first
                record that where `needed` reads, and then call `keep`.
        """
        folder = self.folder / key
        try:
            with only_one(folder / _LOCK) as locked:
                return self._remove_locked(folder, digests, needed) if locked else []
        except OSError as error:
            _log.warning("unneeded artifacts of %s stay for now: %s", key, error)
            return []

    def _remove_locked(
        self, folder: Path, digests: Iterable[str], needed: Callable[[], Collection[str]]
    ) -> list[str]:
        aside = folder / _ASIDE
        aside.mkdir(exist_ok=True)
        for digest in digests:
            try:
                (folder / digest).rename(aside / digest)
            except OSError as error:
                _log.warning("an unneeded artifact cannot be removed: %s", error)
        # A stopped process may have left others aside.
        moved = sorted(path.name for path in aside.iterdir())
        try:
            still_needed = needed() if moved else ()
        except StorageError as error:
            _log.warning("no artifact is removed: %s", error)
            still_needed = moved
        removed = []
        for digest in moved:
            try:
                if digest in still_needed and not (folder / digest).exists():
                    (aside / digest).rename(folder / digest)
                else:
                    shutil.rmtree(aside / digest)
                    removed.append(digest)
            except OSError as error:
                _log.warning("an unneeded artifact stays in %s: %s", aside, error)
        with suppress(OSError):
            aside.rmdir()
        return removed

    def _card(self, key: str, digest: str) -> dict[str, Any]:
        """Return the card of an artifact, checked against the digest in its name."""
        folder = self._place(key, digest)
        text = self._file(folder, _CARD)
        if _digest(text)[:32] != digest:
            raise self._damaged(folder, f"{_CARD} was changed since it was written")
        return read_card(text, key, self._where(folder))

    def _place(self, key: str, digest: str) -> Path:
        return self.folder / key / digest

    def _remove_damaged(self, key: str, digest: str) -> None:
        """Remove an artifact with this digest that was damaged since it was written."""
        place = self._place(key, digest)
        if not place.is_dir():
            return
        try:
            self.read(key, digest)
        except ArtifactError:
            shutil.rmtree(place)

    @staticmethod
    def _write(place: Path, files: Mapping[str, bytes]) -> None:
        if place.is_dir():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=place.parent) as temporary:
            new = Path(temporary, "new")
            new.mkdir()
            for name, content in files.items():
                _write_through(new / name, content)
            try:
                new.rename(place)
            except OSError:
                # Another process may have written the same artifact a moment before.
                if not place.is_dir():
                    raise
        _sync_folder(place.parent)

    def _file(self, folder: Path, name: str) -> bytes:
        if Path(name).name != name:
            raise self._damaged(folder, f"its card names a file outside its folder, {name!r}")
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise self._damaged(folder, f"{name} cannot be read: {error.strerror}") from error

    @classmethod
    def _damaged(cls, folder: Path, message: str) -> ArtifactError:
        return ArtifactError(
            message,
            where=cls._where(folder),
            hint="Restore the folder from a backup, or train again with `weft train`",
        )

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(
            f"an artifact cannot be written: {error}",
            where=f"models folder {self.folder}",
            hint="Check free space and permissions, or set storage.models to another folder",
        )

    @staticmethod
    def _where(folder: Path) -> str:
        return f"artifact {folder.name} of {folder.parent.name}"


class FolderCheckpoints:
    """Checkpoint of one training in a folder, for the same training to continue from.

    Args:
        folder: folder of the checkpoint; `clear` removes it.
        signature: JSON values that identify a training: options, seed, rows.
    """

    def __init__(self, folder: Path, signature: Mapping[str, Any]) -> None:
        self._folder = folder
        self._signature = orjson.dumps(signature, option=orjson.OPT_SORT_KEYS)

    def load(self) -> Mapping[str, bytes] | None:
        """Return the files saved last; None without files of the same training."""
        try:
            if (self._folder / "signature").read_bytes() != self._signature:
                return None
            names = [path for path in self._folder.iterdir() if path.name != "signature"]
            return {path.name: path.read_bytes() for path in names}
        except OSError:
            # Without a readable checkpoint, training starts from the beginning.
            return None

    @staticmethod
    def signature_in(folder: Path) -> dict[str, Any] | None:
        """Return the signature of the training in a folder; None where there is none."""
        try:
            signature = orjson.loads((folder / "signature").read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        return signature if isinstance(signature, dict) else None

    def save(self, files: Mapping[str, bytes]) -> None:
        """Save files in place of the previous ones.

        Raises:
            ArtifactError: a file is not of a safe format.
            StorageError: the files cannot be written.
        """
        check_files(Artifact(files, {}), "checkpoint")
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self._folder.parent) as temporary:
                new = Path(temporary, "new")
                new.mkdir()
                for name, content in {**files, "signature": self._signature}.items():
                    _write_through(new / name, content)
                self.clear()
                new.rename(self._folder)
        except OSError as error:
            raise StorageError(
                f"a checkpoint cannot be written: {error}", where=str(self._folder)
            ) from error

    def clear(self) -> None:
        """Remove the saved files."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _has_card(folder: Path) -> bool:
    try:
        return (folder / _CARD).is_file()
    except PermissionError:
        # Count the folder as an artifact: reading it gives a clear error.
        return True


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_through(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

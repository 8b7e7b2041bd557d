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
from weft.learning.cards import FORMAT, check_files, expect_about, read_card
from weft.store.lock import only_one

_CARD: Final = "card.json"
_LOCK: Final = ".lock"
_TRAINED: Final = ".training"
_ASIDE: Final = ".old"
_CARDS_REMEMBERED: Final = 128

_log = logging.getLogger(__name__)

Signs: TypeAlias = tuple[tuple[str, int, int, int, int], ...]
"""Name, place on the disk, size and times of each file of an artifact."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact and its model card.

    Attributes:
        digest: of the card, which holds the digests of all files.
        artifact: the component's own files, and its own part of the card.
        about: what the engine adds to the card: component, options, span of the data, versions.
    """

    digest: str
    artifact: Artifact
    about: Mapping[str, Any]


class Artifacts:
    """The artifacts of one engine. Nothing in them is ever executed.

    Args:
        folder: where they are; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._abouts: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._lock = threading.Lock()

    def keep(self, key: str, artifact: Artifact, about: Mapping[str, Any]) -> StoredArtifact:
        """Write an artifact, whole or not at all.

        Args:
            key: the component's key in config: ``models.transformer``.
            artifact: what its training left behind.
            about: what the engine has to say of it, as JSON values.

        Raises:
            ArtifactError: a file is of no safe format, or the card is no JSON.
            StorageError: it cannot be written.
        """
        check_files(artifact, key)
        card = {
            "format": FORMAT,
            "key": key,
            "about": dict(about),
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
        return StoredArtifact(digest, artifact, dict(about))

    @contextmanager
    def training(self, key: str) -> Iterator[None]:
        """Let nobody else train a component while the block runs.

        Args:
            key: the component's key in config.

        Raises:
            TrainingError: it is being trained already.
            StorageError: no artifact of it could be written.
        """
        folder = self.folder / key
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(prefix=".new-", dir=folder):
                    pass
                alone = stack.enter_context(only_one(folder / _TRAINED))
            except OSError as error:
                raise self._unwritable(error) from error
            if not alone:
                raise TrainingError(
                    "is being trained by another process",
                    where=key,
                    hint="Wait until that has finished, or stop it, and train again then",
                )
            yield

    def read(self, key: str, digest: str) -> StoredArtifact:
        """Return an artifact, having made sure that no bit of it was changed.

        Raises:
            ArtifactError: it is missing, damaged, or of another format.
        """
        folder, card = self._place(key, digest), self._card(key, digest)
        files = {name: self._file(folder, name) for name in card["files"]}
        for name, content in files.items():
            if _digest(content) != card["files"][name]:
                raise self._damaged(folder, f"{name} was changed since it was written")
        return StoredArtifact(digest, Artifact(files, card["card"]), card["about"])

    def about(self, key: str, digest: str) -> Mapping[str, Any]:
        """Return what the engine says of an artifact on its card.

        A digest stands for one card, so a card that was read once is remembered. The other files
        are not looked at: only `read` says that an artifact is sound.

        Raises:
            ArtifactError: the card is missing, damaged, or of another format, or does not say
                when it was trained, since when it is known, and how good it is.
        """
        with self._lock:
            found = self._abouts.get((key, digest))
        if found is not None:
            return found
        found = MappingProxyType(self._card(key, digest)["about"])
        expect_about(found, self._where(self._place(key, digest)))
        with self._lock:
            self._abouts[key, digest] = found
            for old in list(self._abouts)[:-_CARDS_REMEMBERED]:
                del self._abouts[old]
        return found

    def signs(self, key: str, digest: str) -> Signs:
        """Return what changes when the files of an artifact are touched; nothing is opened.

        Empty where there is no such folder.
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
            StorageError: their folder cannot be read.
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
                hint="Give yourself leave to read it, or point storage.models elsewhere",
            ) from error

    def remove(
        self, key: str, digests: Iterable[str], needed: Callable[[], Collection[str]]
    ) -> list[str]:
        """Remove artifacts of a component, and return the digests of those that are gone.

        One process does so at a time; in another nothing is removed meanwhile. What cannot be
        removed is said in the log, and tried again the next time.

        Args:
            key: the component's key in config.
            digests: of the artifacts.
            needed: asked once they are set aside, where nobody finds them any more; those it
                names are put back. Whoever comes to need one has to say so where `needed` looks,
                and only then to make sure, with `keep`, that it is there.
        """
        folder = self.folder / key
        try:
            with only_one(folder / _LOCK) as alone:
                return self._remove_alone(folder, digests, needed) if alone else []
        except OSError as error:
            _log.warning("artifacts of %s that nobody needs stay for now: %s", key, error)
            return []

    def _remove_alone(
        self, folder: Path, digests: Iterable[str], needed: Callable[[], Collection[str]]
    ) -> list[str]:
        aside = folder / _ASIDE
        aside.mkdir(exist_ok=True)
        for digest in digests:
            try:
                (folder / digest).rename(aside / digest)
            except OSError as error:
                _log.warning("an artifact that nobody needs cannot be removed: %s", error)
        # A process that was ended midway left some as well.
        found = sorted(path.name for path in aside.iterdir())
        try:
            back = needed() if found else ()
        except StorageError as error:
            _log.warning("no artifact is removed: %s", error)
            back = found
        removed = []
        for digest in found:
            try:
                if digest in back and not (folder / digest).exists():
                    (aside / digest).rename(folder / digest)
                else:
                    shutil.rmtree(aside / digest)
                    removed.append(digest)
            except OSError as error:
                _log.warning("an artifact set aside stays in %s: %s", aside, error)
        with suppress(OSError):
            aside.rmdir()
        return removed

    def _card(self, key: str, digest: str) -> dict[str, Any]:
        """Return the card of an artifact, which is the one it was named after."""
        folder = self._place(key, digest)
        text = self._file(folder, _CARD)
        if _digest(text)[:32] != digest:
            raise self._damaged(folder, f"{_CARD} is not the one the artifact was named after")
        return read_card(text, key, self._where(folder))

    def _place(self, key: str, digest: str) -> Path:
        return self.folder / key / digest

    def _remove_damaged(self, key: str, digest: str) -> None:
        """Make room for an artifact that was kept before, and damaged since."""
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
        with tempfile.TemporaryDirectory(prefix=".new-", dir=place.parent) as made:
            whole = Path(made, "whole")
            whole.mkdir()
            for name, content in files.items():
                _write_through(whole / name, content)
            try:
                whole.rename(place)
            except OSError:
                # Another process may have kept the same a moment before.
                if not place.is_dir():
                    raise
        _sync_folder(place.parent)

    def _file(self, folder: Path, name: str) -> bytes:
        if Path(name).name != name:
            raise self._damaged(folder, f"its card names a file elsewhere, {name!r}")
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise self._damaged(folder, f"{name} cannot be read: {error.strerror}") from error

    @classmethod
    def _damaged(cls, folder: Path, what: str) -> ArtifactError:
        return ArtifactError(
            what,
            where=cls._where(folder),
            hint="Restore the folder from a backup, or train anew with `weft train`",
        )

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(
            f"an artifact cannot be written: {error}",
            where=f"models folder {self.folder}",
            hint="Check free space and permissions, or point storage.models elsewhere",
        )

    @staticmethod
    def _where(folder: Path) -> str:
        return f"artifact {folder.name} of {folder.parent.name}"


class FolderCheckpoints:
    """Keeps the state of one training in a folder, for a training of the same kind to go on from.

    Args:
        folder: where; removed by `clear`.
        signature: what tells one training from another: options, rows, version.
    """

    def __init__(self, folder: Path, signature: Mapping[str, Any]) -> None:
        self._folder = folder
        self._signature = orjson.dumps(signature, option=orjson.OPT_SORT_KEYS)

    def load(self) -> Mapping[str, bytes] | None:
        """Return the files saved last, or None where there are none, or of another training."""
        try:
            if (self._folder / "signature").read_bytes() != self._signature:
                return None
            names = [path for path in self._folder.iterdir() if path.name != "signature"]
            return {path.name: path.read_bytes() for path in names}
        except OSError:
            # A training that cannot go on from where it was begins anew.
            return None

    @staticmethod
    def signature_in(folder: Path) -> dict[str, Any] | None:
        """Return what the training was whose state a folder holds; None where it holds none."""
        try:
            signature = orjson.loads((folder / "signature").read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        return signature if isinstance(signature, dict) else None

    def save(self, files: Mapping[str, bytes]) -> None:
        """Keep these files, in place of those saved before.

        Raises:
            ArtifactError: a file is of no safe format.
            StorageError: they cannot be written.
        """
        check_files(Artifact(files, {}), "checkpoint")
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self._folder.parent) as made:
                whole = Path(made, "whole")
                whole.mkdir()
                for name, content in {**files, "signature": self._signature}.items():
                    _write_through(whole / name, content)
                self.clear()
                whole.rename(self._folder)
        except OSError as error:
            raise StorageError(
                f"a checkpoint cannot be written: {error}", where=str(self._folder)
            ) from error

    def clear(self) -> None:
        """Remove what is kept."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _has_card(folder: Path) -> bool:
    try:
        return (folder / _CARD).is_file()
    except PermissionError:
        # It is there for all that can be seen; whoever reads it is told that it cannot be.
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

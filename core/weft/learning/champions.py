"""Which artifact of a component is in use, as of any instant: the champion."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from weft.components.trained import Artifact, LoadedArtifact, Trained
from weft.config.resolve import canonical_options
from weft.foundation.calls import Raised, guarded
from weft.foundation.errors import ArtifactError, LearningError
from weft.foundation.times import iso, parse_time
from weft.learning.artifacts import Artifacts, Signs, StoredArtifact
from weft.ledger.ledger import Entry, Ledger

_ANYTHING: Final[Mapping[str, object]] = MappingProxyType({})

PROMOTION: Final = "promotion"

_READY_AT_ONCE: Final = 3
"""Artifacts of a component that stay in memory: in use now, the one before, one for history."""

_Known: TypeAlias = tuple[str, str, str]
"""A component's key in config, an artifact's digest, and the component's options."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """An artifact taken into use.

    Attributes:
        key: the component's key in config.
        digest: of the artifact.
        effective_at: decision row from which on it is used: all that it rests on, and all that
            it was judged by, was known by then. Microseconds since 1970.
        recorded_at: when it was decided, microseconds since 1970.
        trust: how far it has shown that it knows more than nothing, 0 to 1.
        why: in words.
        figures: what it was judged by.
    """

    key: str
    digest: str
    effective_at: int
    recorded_at: int
    trust: float
    why: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActiveArtifacts:
    """What the trained components have learnt as of an instant.

    Attributes:
        learned: artifacts ready for use, by the component's key in config.
        problems: why a component has none, or not the latest, by key.
    """

    learned: Mapping[str, LoadedArtifact]
    problems: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why an artifact cannot be used, as it was found on disk."""

    why: str
    signs: Signs


class Champions:
    """Knows the champion of each component as of any instant. Safe to use from several threads.

    Promotions stand in the ledger, so none can be taken back or backdated without a trace; the
    latest that was effective by an instant, and recorded by another, is the champion then.

    An artifact that is of use, or of none, is looked at once. One of no use is looked at again
    once its files were touched, or anything of its component was promoted.

    Args:
        ledger: where promotions stand.
        artifacts: where the artifacts are.
        made_for: what has to stand on the card of one that is used (`Composition.made_for`).
    """

    def __init__(
        self, ledger: Ledger, artifacts: Artifacts, made_for: Mapping[str, object] = _ANYTHING
    ) -> None:
        self._ledger = ledger
        self._artifacts = artifacts
        self._made_for = made_for
        self._promotions: list[Promotion] = []
        self._read_to = 0
        self._ready: dict[_Known, LoadedArtifact] = {}
        self._refused: dict[_Known, _Refusal] = {}
        self._lock = threading.Lock()

    def promote(self, promotion: Promotion) -> None:
        """Write down that an artifact is taken into use.

        Raises:
            StorageError: it cannot be written; the champion stays.
        """
        body = {
            "artifact": promotion.digest,
            "trust": promotion.trust,
            "why": promotion.why,
            "figures": dict(promotion.figures),
        }
        self._ledger.note(PROMOTION, promotion.key, iso(promotion.effective_at), body)

    def promotions(self, key: str) -> list[Promotion]:
        """Return every promotion of a component, in the order they were decided."""
        return [one for one in self._all() if one.key == key]

    def ranked(self, key: str, as_of: int, recorded_by: int | None = None) -> list[Promotion]:
        """Return the promotions effective at an instant, the champion first.

        Args:
            key: the component's key in config.
            as_of: a decision row, microseconds since 1970.
            recorded_by: leave out what was decided later than this; None for nothing.
        """
        effective = [
            (one.effective_at, number, one)
            for number, one in enumerate(self._all())
            if one.key == key
            and one.effective_at <= as_of
            and (recorded_by is None or one.recorded_at <= recorded_by)
        ]
        # Of two that are effective from one row on, the one decided last.
        return [one for _, _, one in sorted(effective, key=lambda p: p[:2], reverse=True)]

    def at(
        self,
        components: Mapping[str, Trained],
        as_of: int,
        recorded_by: int | None = None,
    ) -> ActiveArtifacts:
        """Return what components have learnt as of a decision row.

        An artifact that is damaged, or was made with other options, is passed over for the one
        that was champion before it, and the problem is told.
        """
        learned: dict[str, LoadedArtifact] = {}
        problems: dict[str, str] = {}
        for key, component in components.items():
            ranked = self.ranked(key, as_of, recorded_by)
            found, trouble = self._first_usable(key, component, ranked)
            if found is not None:
                learned[key] = found
            if trouble:
                problems[key] = "; ".join(trouble)
        return ActiveArtifacts(learned, problems)

    def in_use(self, key: str, component: Trained, as_of: int) -> StoredArtifact | None:
        """Return the artifact a component uses as of a decision row, None where there is none."""
        for promotion in self.ranked(key, as_of):
            if isinstance(self._looked_at(key, component, promotion), LoadedArtifact):
                try:
                    # Anew, for one that is ready may have been damaged on disk since.
                    return self._artifacts.read(key, promotion.digest)
                except ArtifactError:
                    continue
        return None

    def _first_usable(
        self, key: str, component: Trained, ranked: Iterable[Promotion]
    ) -> tuple[LoadedArtifact | None, list[str]]:
        trouble: list[str] = []
        for promotion in ranked:
            found = self._looked_at(key, component, promotion)
            if isinstance(found, LoadedArtifact):
                return found, trouble
            reason = f"artifact {promotion.digest[:8]} is not used: {found.why}"
            if reason not in trouble:
                trouble.append(reason)
        return None, trouble

    def _looked_at(
        self, key: str, component: Trained, promotion: Promotion
    ) -> LoadedArtifact | _Refusal:
        """Return a promoted artifact, made ready; or why it cannot be used."""
        options = canonical_options(component.config)
        known = (key, promotion.digest, options)
        with self._lock:
            held, refused = self._ready.get(known), self._refused.get(known)
            if held is not None:
                # The one used last stands last.
                self._ready[known] = self._ready.pop(known)
        if held is not None:
            return LoadedArtifact(held.digest, held.ready, promotion.trust)
        # Before it is read, so that what is put right meanwhile is looked at again.
        signs = self._artifacts.signs(key, promotion.digest)
        if refused is not None and refused.signs == signs:
            return refused
        try:
            kept = self._artifacts.read(key, promotion.digest)
            expect_made_by(component, kept, options, self._made_for)
            ready = made_ready(component, kept.artifact)
            found = LoadedArtifact(promotion.digest, ready, promotion.trust)
        except LearningError as error:
            refusal = _Refusal(str(error), signs)
            cause = error.__cause__
            # A file that is there but could not be read may be readable the next time.
            if isinstance(cause, FileNotFoundError) or not isinstance(cause, OSError):
                with self._lock:
                    self._refused[known] = refusal
            return refusal
        with self._lock:
            self._ready[known] = found
            for old in [one for one in self._ready if one[0] == key][:-_READY_AT_ONCE]:
                del self._ready[old]
        return found

    def _all(self) -> list[Promotion]:
        with self._lock:
            for entry in self._ledger.notes(PROMOTION, after=self._read_to):
                self._promotions.append(_promotion(entry))
                self._read_to = entry.seq
                for known in [one for one in self._refused if one[0] == entry.symbol]:
                    del self._refused[known]
            return list(self._promotions)


def made_ready(component: Trained, artifact: Artifact) -> Any:  # noqa: ANN401  # what the component works with
    """Return what a component makes of an artifact.

    Raises:
        ArtifactError: it can make nothing of it, for whatever reason.
    """
    found = guarded(lambda: component.load(artifact))
    if not isinstance(found, Raised):
        return found
    if isinstance(found.error, LearningError):
        raise found.error
    raise ArtifactError(
        f"cannot be loaded: {type(found.error).__name__}: {found.error}",
        where=component.title(),
        hint="Train it anew with `weft train`",
    ) from found.error


def expect_made_by(
    component: Trained, kept: StoredArtifact, options: str, made_for: Mapping[str, object]
) -> None:
    """Make sure that a component with these options made an artifact, for this composition.

    Args:
        component: that is to use it.
        kept: the artifact.
        options: of the component.
        made_for: what has to stand on its card: the interval, and the horizon.

    Raises:
        ArtifactError: another component did, or the same with other options, or for something
            else.
    """
    made_by = kept.about.get("component")
    if made_by != component.title():
        raise ArtifactError(
            f"was made by {made_by}",
            where=component.title(),
            hint="Train it anew with `weft train`",
        )
    if kept.about.get("options") != options:
        raise ArtifactError(
            "was made with other options than those in config",
            where=component.title(),
            hint="Train it anew with `weft train`, or set the options back",
        )
    for name, wanted in made_for.items():
        if kept.about.get(name) != wanted:
            raise ArtifactError(
                f"was made for {name} {kept.about.get(name)}, config says {wanted}",
                where=component.title(),
                hint=f"Train it anew with `weft train`, or set {name} back",
            )


def _promotion(entry: Entry) -> Promotion:
    body = entry.body
    return Promotion(
        key=entry.symbol,
        digest=str(body["artifact"]),
        effective_at=parse_time(entry.as_of),
        recorded_at=entry.recorded_at,
        trust=float(body["trust"]),
        why=str(body["why"]),
        figures=dict(body.get("figures") or {}),
    )

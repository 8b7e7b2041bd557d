"""Champions: the artifact of each component in use as of any instant."""

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

_NO_RESTRICTION: Final[Mapping[str, object]] = MappingProxyType({})

PROMOTION: Final = "promotion"

_LOADED_ARTIFACTS: Final = 3
"""Artifacts of a component in memory: the current, the previous, and one for history."""

_Known: TypeAlias = tuple[str, str, str]
"""Key of a component in config, digest of an artifact, and options of the component."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """Promotion of an artifact into use.

    Attributes:
        key: key of the component in config.
        digest: digest of the artifact.
        effective_at: first decision row that uses it, microseconds since 1970. All data of its
            training and judging was known by then.
        recorded_at: time of the decision, microseconds since 1970.
        trust: weight of its forecasts by its gain over the baseline, 0 to 1.
        why: reason, for users.
        figures: figures of the judging.
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
    """Artifacts of the trained components in use as of an instant.

    Attributes:
        learned: loaded artifacts, by key of the component in config.
        problems: why a component has no artifact, or not the latest, by key.
    """

    learned: Mapping[str, LoadedArtifact]
    problems: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Reason why an artifact cannot be used, and the state of its files at that time."""

    why: str
    signs: Signs


class Champions:
    """Champions of all components as of any instant. Safe to use from several threads.

    Promotions are rows of the ledger, so none can be removed or backdated without a trace. The
    champion as of an instant is the latest promotion effective by then.

    Each artifact is loaded once, and the outcome cached. An unusable artifact is tried again after
    its files changed, or after a promotion of its component.

    Args:
        ledger: ledger with the promotions.
        artifacts: artifacts on disk.
        trained_for: values that the card of a used artifact must have (`Composition.trained_for`).
    """

    def __init__(
        self,
        ledger: Ledger,
        artifacts: Artifacts,
        trained_for: Mapping[str, object] = _NO_RESTRICTION,
    ) -> None:
        self._ledger = ledger
        self._artifacts = artifacts
        self._made_for = trained_for
        self._promotions: list[Promotion] = []
        self._read_to = 0
        self._ready: dict[_Known, LoadedArtifact] = {}
        self._refused: dict[_Known, _Refusal] = {}
        self._lock = threading.Lock()

    def promote(self, promotion: Promotion) -> None:
        """Record a promotion in the ledger.

        Raises:
            StorageError: the ledger cannot be written; the champion stays.
        """
        body = {
            "artifact": promotion.digest,
            "trust": promotion.trust,
            "why": promotion.why,
            "figures": dict(promotion.figures),
        }
        self._ledger.note(PROMOTION, promotion.key, iso(promotion.effective_at), body)

    def promotions(self, key: str) -> list[Promotion]:
        """Return every promotion of a component, in the order of decision."""
        return [promotion for promotion in self._all() if promotion.key == key]

    def ranked(self, key: str, as_of: int, recorded_by: int | None = None) -> list[Promotion]:
        """Return the promotions effective at an instant, the champion first.

        Args:
            key: key of the component in config.
            as_of: decision row, microseconds since 1970.
            recorded_by: latest time of decision that counts; None for all.
        """
        effective = [
            (promotion.effective_at, number, promotion)
            for number, promotion in enumerate(self._all())
            if promotion.key == key
            and promotion.effective_at <= as_of
            and (recorded_by is None or promotion.recorded_at <= recorded_by)
        ]
        # Among promotions effective from the same row, the last decision counts.
        ordered = sorted(effective, key=lambda entry: entry[:2], reverse=True)
        return [promotion for _, _, promotion in ordered]

    def active_artifacts(
        self,
        components: Mapping[str, Trained],
        as_of: int,
        recorded_by: int | None = None,
    ) -> ActiveArtifacts:
        """Return the artifacts of components in use as of a decision row.

        Where the champion is damaged or of other options, the previous champion is used, and
        `ActiveArtifacts.problems` gives the reason.

        Args:
            components: components by key in config.
            as_of: decision row, microseconds since 1970.
            recorded_by: latest time of decision that counts; None for all.
        """
        learned: dict[str, LoadedArtifact] = {}
        problems: dict[str, str] = {}
        for key, component in components.items():
            ranked = self.ranked(key, as_of, recorded_by)
            artifact, reasons = self._first_usable(key, component, ranked)
            if artifact is not None:
                learned[key] = artifact
            if reasons:
                problems[key] = "; ".join(reasons)
        return ActiveArtifacts(learned, problems)

    def stored_champion(self, key: str, component: Trained, as_of: int) -> StoredArtifact | None:
        """Return the stored artifact of a component in use as of a decision row, or None."""
        for promotion in self.ranked(key, as_of):
            if isinstance(self._loaded(key, component, promotion), LoadedArtifact):
                try:
                    # Read again: the files may have been damaged since they were loaded.
                    return self._artifacts.read(key, promotion.digest)
                except ArtifactError:
                    continue
        return None

    def _first_usable(
        self, key: str, component: Trained, ranked: Iterable[Promotion]
    ) -> tuple[LoadedArtifact | None, list[str]]:
        reasons: list[str] = []
        for promotion in ranked:
            loaded = self._loaded(key, component, promotion)
            if isinstance(loaded, LoadedArtifact):
                return loaded, reasons
            reason = f"artifact {promotion.digest[:8]} is not used: {loaded.why}"
            if reason not in reasons:
                reasons.append(reason)
        return None, reasons

    def _loaded(
        self, key: str, component: Trained, promotion: Promotion
    ) -> LoadedArtifact | _Refusal:
        """Return a promoted artifact, loaded; or the reason why it cannot be used."""
        options = canonical_options(component.config)
        known = (key, promotion.digest, options)
        with self._lock:
            cached, refused = self._ready.get(known), self._refused.get(known)
            if cached is not None:
                # The most recently used artifact is last.
                self._ready[known] = self._ready.pop(known)
        if cached is not None:
            return LoadedArtifact(cached.digest, cached.ready, promotion.trust)
        # Signs are taken before reading, so a repair in between is noticed the next time.
        signs = self._artifacts.signs(key, promotion.digest)
        if refused is not None and refused.signs == signs:
            return refused
        try:
            stored = self._artifacts.read(key, promotion.digest)
            expect_trained_for(component, stored, options, self._made_for)
            ready = load_artifact(component, stored.artifact)
            loaded = LoadedArtifact(promotion.digest, ready, promotion.trust)
        except LearningError as error:
            refusal = _Refusal(str(error), signs)
            cause = error.__cause__
            # A file that exists but could not be read may be readable the next time.
            if isinstance(cause, FileNotFoundError) or not isinstance(cause, OSError):
                with self._lock:
                    self._refused[known] = refusal
            return refusal
        with self._lock:
            self._ready[known] = loaded
            for old in [entry for entry in self._ready if entry[0] == key][:-_LOADED_ARTIFACTS]:
                del self._ready[old]
        return loaded

    def _all(self) -> list[Promotion]:
        with self._lock:
            for entry in self._ledger.notes(PROMOTION, after=self._read_to):
                self._promotions.append(_promotion(entry))
                self._read_to = entry.seq
                for known in [refused for refused in self._refused if refused[0] == entry.symbol]:
                    del self._refused[known]
            return list(self._promotions)


def load_artifact(component: Trained, artifact: Artifact) -> Any:  # noqa: ANN401  # what the component works with
    """Return an artifact as loaded by its component.

    Raises:
        ArtifactError: loading failed.
    """
    loaded = guarded(lambda: component.load(artifact))
    if not isinstance(loaded, Raised):
        return loaded
    if isinstance(loaded.error, LearningError):
        raise loaded.error
    raise ArtifactError(
        f"cannot be loaded: {type(loaded.error).__name__}: {loaded.error}",
        where=component.title(),
        hint="Train it again with `weft train`",
    ) from loaded.error


def expect_trained_for(
    component: Trained, stored: StoredArtifact, options: str, trained_for: Mapping[str, object]
) -> None:
    """Check that an artifact is of a component, its options and this composition.

    Args:
        component: component that is to use the artifact.
        stored: artifact to check.
        options: canonical options of the component.
        trained_for: values its card must have: interval and horizon.

    Raises:
        ArtifactError: the artifact is of another component, other options, or another interval or
            horizon.
    """
    trained_by = stored.provenance.get("component")
    if trained_by != component.title():
        raise ArtifactError(
            f"was trained by {trained_by}",
            where=component.title(),
            hint="Train it again with `weft train`",
        )
    if stored.provenance.get("options") != options:
        raise ArtifactError(
            "was trained with other options than those in config",
            where=component.title(),
            hint="Train it again with `weft train`, or restore the options",
        )
    for name, expected in trained_for.items():
        if stored.provenance.get(name) != expected:
            raise ArtifactError(
                f"was trained for {name} {stored.provenance.get(name)}; config has {expected}",
                where=component.title(),
                hint=f"Train it again with `weft train`, or restore {name}",
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

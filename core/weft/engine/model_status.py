"""Status of the trained components, for `weft models list` and `GET /models/status`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Any

from weft.components.trained import NOT_TRAINED
from weft.foundation.errors import ArtifactError
from weft.foundation.times import iso

if TYPE_CHECKING:
    from weft.engine.engine import Engine
    from weft.learning.champions import Promotion


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Status of a trained component.

    Attributes:
        key: its key in config.
        component: kind and name.
        artifact: digest of the artifact in use; None without one.
        effective_at: first decision row that uses it, ISO 8601 UTC.
        trained_through: last row of its training, ISO 8601 UTC.
        trust: in the artifact, 0 to 1.
        skill_t: its gain over the baseline on rows after its training, in standard errors.
        trainings: number of trainings.
        promotions: number of trainings whose artifact was promoted at once.
        last_training: result of the latest training, in words.
        seconds: duration of the latest training.
        problem: why there is no artifact, or not the latest; None without a problem.
        training: start and progress of a training under way; None without one.
    """

    key: str
    component: str
    artifact: str | None
    effective_at: str | None
    trained_through: str | None
    trust: float | None
    skill_t: float | None
    trainings: int
    promotions: int
    last_training: str | None
    seconds: float | None
    problem: str | None
    training: str | None = None


def model_status(engine: "Engine") -> list[ModelStatus]:
    """Return the status of each trained component of an engine, by key in config."""
    trained = engine.composition.trained
    now = engine.clock.now()
    active = engine.champions.active_artifacts(trained, now)
    trainings = engine.trainer.trainings.by_key()
    under_way = engine.trainer.under_way()
    rows = []
    for key, component in sorted(trained.items()):
        history = trainings.get(key)
        learned = active.learned.get(key)
        ranked = engine.champions.ranked(key, now)
        about = _about(engine, key, learned.digest) if learned else None
        rows.append(
            ModelStatus(
                key=key,
                component=component.title(),
                artifact=learned.digest if learned else None,
                effective_at=_since(ranked, learned.digest) if learned else None,
                trained_through=str(about["trained_through"]) if about else None,
                trust=learned.trust if learned else None,
                skill_t=float(about["skill_t"]) if about else None,
                trainings=history.count if history else 0,
                promotions=history.promoted if history else 0,
                last_training=str(history.last["why"]) if history else None,
                seconds=float(history.last["seconds"]) if history else None,
                problem=active.problems.get(key) or (None if learned else NOT_TRAINED),
                training=str(under_way[key]) if key in under_way else None,
            )
        )
    return rows


def _since(ranked: "Sequence[Promotion]", digest: str) -> str | None:
    """Return the first decision row of an artifact's current use, over repeated promotions."""
    from_use = dropwhile(lambda promotion: promotion.digest != digest, ranked)
    run = list(takewhile(lambda promotion: promotion.digest == digest, from_use))
    return iso(run[-1].effective_at) if run else None


def _about(engine: "Engine", key: str, digest: str) -> Mapping[str, Any] | None:
    try:
        return engine.trainer.artifacts.provenance(key, digest)
    except ArtifactError:
        # The artifact in memory stays in use without its card on disk.
        return None

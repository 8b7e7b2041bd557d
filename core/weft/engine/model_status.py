"""How the trained components are doing: for `weft models list` and `GET /models/status`."""

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
    """How one component that is trained is doing.

    Attributes:
        key: its key in config.
        component: kind and name.
        artifact: digest of what it uses now; None where it has learnt nothing yet.
        effective_at: since which decision row, ISO 8601 UTC.
        trained_through: last row that artifact was trained on, ISO 8601 UTC.
        trust: how far it is listened to, 0 to 1.
        skill_t: its gain over knowing nothing on rows that came after, in standard errors.
        trainings: how often it was trained.
        promotions: how many of these trainings were taken into use when they were done.
        last_training: what the latest training came to, in words.
        seconds: how long that took.
        problem: why it has no artifact, or not the latest; None where all is well.
        training: since when a training is under way and how far it is; None where none is.
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
    """Return how each trained component of an engine is doing, by its key in config."""
    trained = engine.composition.trained
    now = engine.clock.now()
    in_use = engine.champions.at(trained, now)
    trainings = engine.trainer.trainings.by_key()
    under_way = engine.trainer.under_way()
    found = []
    for key, component in sorted(trained.items()):
        own = trainings.get(key)
        learned = in_use.learned.get(key)
        ranked = engine.champions.ranked(key, now)
        about = _about(engine, key, learned.digest) if learned else None
        found.append(
            ModelStatus(
                key=key,
                component=component.title(),
                artifact=learned.digest if learned else None,
                effective_at=_since(ranked, learned.digest) if learned else None,
                trained_through=str(about["trained_through"]) if about else None,
                trust=learned.trust if learned else None,
                skill_t=float(about["skill_t"]) if about else None,
                trainings=own.count if own else 0,
                promotions=own.promoted if own else 0,
                last_training=str(own.last["why"]) if own else None,
                seconds=float(own.last["seconds"]) if own else None,
                problem=in_use.problems.get(key) or (None if learned else NOT_TRAINED),
                training=str(under_way[key]) if key in under_way else None,
            )
        )
    return found


def _since(ranked: "Sequence[Promotion]", digest: str) -> str | None:
    """Return since when an artifact is used without a break: one judged anew is promoted anew."""
    from_it = dropwhile(lambda one: one.digest != digest, ranked)
    run = list(takewhile(lambda one: one.digest == digest, from_it))
    return iso(run[-1].effective_at) if run else None


def _about(engine: "Engine", key: str, digest: str) -> Mapping[str, Any] | None:
    try:
        return engine.trainer.artifacts.about(key, digest)
    except ArtifactError:
        # What is in memory is used all the same.
        return None

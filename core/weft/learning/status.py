"""How the trained components are doing: for `weft models list` and `GET /models/status`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weft.components.trained import NOT_TRAINED
from weft.learning.records import TRAINING
from weft.times import iso

if TYPE_CHECKING:
    from weft.engine import Engine


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
        promotions: how often the outcome was taken into use.
        last_training: what the latest training came to, in words.
        seconds: how long that took.
        problem: why it has no artifact, or not the latest; None where all is well.
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


def model_status(engine: "Engine") -> list[ModelStatus]:
    """Return how each trained component of an engine is doing, by its key in config."""
    trained = engine.composition.trained
    now = engine.clock.now()
    in_use = engine.champions.at(trained, now)
    trainings = engine.ledger.notes(TRAINING)
    found = []
    for key, component in sorted(trained.items()):
        own = [entry for entry in trainings if entry.symbol == key]
        learned = in_use.learned.get(key)
        ranked = engine.champions.ranked(key, now)
        used = next((p for p in ranked if learned and p.digest == learned.digest), None)
        kept = engine.champions.in_use(key, component, now) if learned else None
        last = own[-1].body if own else None
        found.append(
            ModelStatus(
                key=key,
                component=component.title(),
                artifact=learned.digest if learned else None,
                effective_at=iso(used.effective_at) if used else None,
                trained_through=str(kept.about["trained_through"]) if kept else None,
                trust=used.trust if used else None,
                skill_t=float(kept.about["skill_t"]) if kept else None,
                trainings=len(own),
                promotions=len(engine.champions.promotions(key)),
                last_training=str(last["why"]) if last else None,
                seconds=float(last["seconds"]) if last else None,
                problem=in_use.problems.get(key) or (None if learned else NOT_TRAINED),
            )
        )
    return found

"""Training: fits a component on history, judges it on what came after, and promotes the better."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np

import weft
from weft.components.trained import (
    Artifact,
    Evaluation,
    Opinions,
    Trained,
    Training,
    TrainingProgress,
    ignore_progress,
)
from weft.compose import compose
from weft.composition import Composition
from weft.config.resolve import canonical_options
from weft.errors import ArtifactError, LearningError, TrainingError
from weft.learning.artifacts import Artifacts, FolderCheckpoints
from weft.learning.champions import Champions, Promotion, expect_made_by
from weft.learning.judging import Comparison, compare, skill_of, trust_in
from weft.ledger.ledger import Ledger
from weft.market.market import Market
from weft.market.view import View
from weft.times import DAY, iso, parse_time

TRAINING: Final = "training"


@dataclass(frozen=True, slots=True)
class Rules:
    """How trainings are judged; see `weft.config.settings.TrainingSection`."""

    shadow_share: float = 0.2
    shadow_days_most: float = 60.0
    promote_above: float = 1.0
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Span:
    """Which rows a training uses; instants are closes, microseconds since 1970.

    Attributes:
        first: first row to train on.
        trained_to: last row to train on.
        judged_to: last row to judge on; judging begins right after `trained_to`.
        rows: rows to train on.
        shadow_rows: rows to judge on.
    """

    first: int
    trained_to: int
    judged_to: int
    rows: int
    shadow_rows: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What one training came to.

    Attributes:
        key: the component's key in config.
        digest: of the artifact.
        span: which rows were used.
        skill: its gain over the baseline on the rows that came after.
        against: its gain over the champion there; None where there was none.
        trust: how far it is to be listened to, 0 to 1.
        promoted: whether it was taken into use.
        why: in words.
        seconds: how long training took.
    """

    key: str
    digest: str
    span: Span
    skill: Comparison
    against: Comparison | None
    trust: float
    promoted: bool
    why: str
    seconds: float


@dataclass(slots=True)
class Trainer:
    """Trains the components of one composition.

    Attributes:
        composition: whose components.
        market: gives views of history.
        champions: which artifacts are in use.
        artifacts: where they are kept.
        ledger: where every training is written down, the promoted and the others.
        rules: how they are judged.
    """

    composition: Composition
    market: Market
    champions: Champions
    artifacts: Artifacts
    ledger: Ledger
    rules: Rules = field(default_factory=Rules)
    stopwatch: Callable[[], float] = time.perf_counter

    def span(self, key: str, last: int) -> Span:
        """Return the rows a training at a decision row would use.

        Args:
            key: the component's key in config.
            last: newest decision row, microseconds since 1970.

        Raises:
            TrainingError: there is too little history, and how much is missing.
        """
        component = self.composition.trained[key]
        micros = self.composition.interval.micros
        rows = self.market.rows_until(last)
        shadow, least = self._shadow_rows(rows), component.least_rows
        if rows - shadow < least:
            missing = self._rows_needed(least) - rows
            raise TrainingError(
                f"needs {rows + missing:,} rows of {self.composition.interval} candles, to train "
                f"on {least:,} of them; there are {rows:,}, {missing:,} are missing and will be "
                f"there at {iso(last + missing * micros)}",
                where=key,
                hint="`weft backfill --since ...` fetches older ones; `weft guide` says more",
            )
        taken = min(rows - shadow, component.most_rows)
        trained_to = last - shadow * micros
        return Span(trained_to - (taken - 1) * micros, trained_to, last, taken, shadow)

    def _shadow_rows(self, rows: int) -> int:
        """Return how many of so many rows are kept to judge on."""
        most = int(self.rules.shadow_days_most * DAY // self.composition.interval.micros)
        return max(min(int(rows * self.rules.shadow_share), most), 1)

    def _rows_needed(self, least: int) -> int:
        """Return how many rows there have to be so that `least` are left to train on."""
        rows = least + 1
        while rows - self._shadow_rows(rows) < least:
            rows += least - (rows - self._shadow_rows(rows))
        return rows

    def train(self, key: str, last: int, progress: TrainingProgress = ignore_progress) -> Trial:
        """Train a component, judge it, and promote it if it is better than what is in use.

        Args:
            key: the component's key in config.
            last: newest decision row; nothing later is looked at. Microseconds since 1970.
            progress: told how far it has come.

        Raises:
            TrainingError: nothing can be learnt; the champion stays.
            StorageError: the artifact or the ledger cannot be written; the champion stays.
        """
        component = self.composition.trained[key]
        options = canonical_options(component.config)
        unfinished = self.artifacts.folder / "unfinished" / key
        span = self._resumed(self.span(key, last), options, unfinished)
        previous = self._previous(key, component, options, span)
        checkpoints = FolderCheckpoints(unfinished, self._signature(span, options))
        begin = self.stopwatch()
        view, training = self._seen(key, span.trained_to, span.rows)
        training = replace(
            training,
            progress=progress,
            checkpoints=checkpoints,
            previous=previous,
        )
        artifact = component.fit(view, training)
        ready = component.load(artifact)
        seconds = self.stopwatch() - begin
        evaluation = self._judge(key, span, ready)
        skill = skill_of(evaluation, self.composition.horizon_candles)
        against = self._against_champion(key, component, span, evaluation)
        kept = self.artifacts.keep(key, artifact, self._about(component, options, span, skill))
        trial = self._decide(key, kept.digest, span, skill, against, seconds)
        self._write_down(trial)
        checkpoints.clear()
        return trial

    def promote(self, key: str, digest: str, last: int, why: str) -> Promotion:
        """Take an artifact into use from a decision row on, whatever it was judged to be.

        Args:
            key: the component's key in config.
            digest: the artifact's, or how it begins.
            last: the row, microseconds since 1970.
            why: in words.

        Raises:
            LearningError: there is no such artifact, or it cannot be used.
        """
        found = [d for d in self.artifacts.digests(key) if d.startswith(digest)]
        if len(found) != 1:
            there = ", ".join(d[:8] for d in self.artifacts.digests(key)) or "none"
            raise LearningError(
                f"{len(found)} artifacts begin with {digest!r}",
                where=key,
                hint=f"There are {there}; `weft models show {key}` lists them",
            )
        kept = self.artifacts.read(key, found[0])
        self.composition.trained[key].load(kept.artifact)
        effective = max(last, int(kept.about["known_at"]))
        trust = float(kept.about["trust"])
        promotion = Promotion(key, found[0], effective, 0, trust, why)
        self.champions.promote(promotion)
        return promotion

    def roll_back(self, key: str, last: int) -> Promotion:
        """Take the artifact into use again that was champion before the present one.

        Raises:
            LearningError: there was none.
        """
        used = [p.digest for p in self.champions.promotions(key)]
        earlier = [digest for digest in used if digest != used[-1]] if used else []
        if not earlier:
            raise LearningError(
                "there is no artifact to go back to",
                where=key,
                hint="`weft models list` shows what was used when",
            )
        return self.promote(key, earlier[-1], last, f"rolled back from {used[-1][:8]}")

    def _signature(self, span: Span, options: str) -> dict[str, Any]:
        """Return what tells one training from another."""
        return {
            "options": options,
            "seed": self.rules.seed,
            "first": span.first,
            "trained_to": span.trained_to,
        }

    def _resumed(self, span: Span, options: str, unfinished: Path) -> Span:
        """Return the span of a training that was stopped within the last day, to finish it.

        Without one, or where it was another kind of training, the span that is handed in.
        """
        kept = FolderCheckpoints.signature_in(unfinished) or {}
        first, trained_to = kept.get("first"), kept.get("trained_to")
        if not isinstance(first, int) or not isinstance(trained_to, int):
            return span
        micros = self.composition.interval.micros
        earlier = Span(
            first,
            trained_to,
            span.judged_to,
            (trained_to - first) // micros + 1,
            (span.judged_to - trained_to) // micros,
        )
        same = kept == self._signature(earlier, options)
        recent = 0 <= span.trained_to - trained_to <= max(DAY, micros)
        return earlier if same and recent else span

    def _seen(
        self,
        key: str,
        last: int,
        rows: int,
        ready: Any = None,  # noqa: ANN401  # what the component works with
    ) -> tuple[View, Training]:
        """Return what a component sees that is trained or judged, and what goes with it."""
        component = self.composition.trained[key]
        seeds = [self.rules.seed, crc32(key.encode())]
        training = Training(np.random.default_rng(seeds), self.composition.horizon_candles)
        if component.learns_from_opinions:
            view = self.market.view(last, rows)
            in_use = self.champions.at(self.composition.trained, int(view.times[0]))
            said = compose(self.composition.unhurried(), view, in_use.learned, in_use.problems)
            training = replace(training, opinions=Opinions(said.fusion, said.levels))
            view = said.view
        else:
            rule = self.composition.universe
            market = self.market.planned_for([*component.needs, *rule.needs])
            view = market.view(last, rows)
            members = rule.members(view.restricted(rule.needs, f"universe {rule.name}"))
            view = view.with_universe(members)
        title = f"{component.kind} {component.name}"
        return view.restricted(component.needs, title, ready), training

    def _previous(self, key: str, component: Trained, options: str, span: Span) -> Artifact | None:
        """Return the artifact trained last with the same options, on rows up to these at most.

        Whether it was promoted does not count: that was decided by rows after those it was
        trained on, which may be among those this training is judged on.
        """
        for note in reversed(self.ledger.notes(TRAINING)):
            if note.symbol != key or parse_time(note.body["trained_through"]) > span.trained_to:
                continue
            try:
                kept = self.artifacts.read(key, note.body["artifact"])
                expect_made_by(component, kept, options)
                component.load(kept.artifact)
            except ArtifactError:
                continue
            return kept.artifact
        return None

    def _judge(self, key: str, span: Span, ready: Any) -> Evaluation:  # noqa: ANN401  # what the component works with
        """Return how good something a component learnt is on the rows kept for judging."""
        view, training = self._seen(key, span.judged_to, span.shadow_rows, ready)
        return self.composition.trained[key].evaluate(view, training)

    def _against_champion(
        self, key: str, component: Trained, span: Span, evaluation: Evaluation
    ) -> Comparison | None:
        """Return the gain over the champion, on rows that neither was trained on."""
        champion = self.champions.at({key: component}, span.judged_to).learned.get(key)
        if champion is None:
            return None
        loss = self._judge(key, span, champion.ready).loss
        about = self.artifacts.read(key, champion.digest).about
        rows = np.arange(len(loss)) * self.composition.interval.micros + span.trained_to
        after_both = rows >= int(about["trained_to"])
        horizon = self.composition.horizon_candles
        return compare(evaluation.loss, np.where(after_both, loss, np.nan), horizon)

    def _about(
        self, component: Trained, options: str, span: Span, skill: Comparison
    ) -> dict[str, Any]:
        """Return the engine's part of a model card."""
        return {
            "component": f"{component.kind} {component.name}",
            "options": options,
            "weft": weft.__version__,
            "interval": self.composition.interval.name,
            "horizon_candles": self.composition.horizon_candles,
            "seed": self.rules.seed,
            "trained_from": iso(span.first),
            "trained_through": iso(span.trained_to),
            "judged_through": iso(span.judged_to),
            "rows": span.rows,
            "shadow_rows": span.shadow_rows,
            "trained_to": span.trained_to,
            "known_at": span.judged_to,
            "skill": skill.gain,
            "skill_t": skill.t,
            "trust": trust_in(skill),
        }

    def _decide(
        self,
        key: str,
        digest: str,
        span: Span,
        skill: Comparison,
        against: Comparison | None,
        seconds: float,
    ) -> Trial:
        promoted, why = True, "the first of its kind"
        if skill.blocks == 0:
            promoted, why = False, "nothing could be judged on what came after its training"
        elif against is not None and against.blocks == 0:
            promoted, why = False, "it could not be compared with the one in use"
        elif against is not None:
            promoted = against.gain > 0.0 and against.t >= self.rules.promote_above
            word = "better" if against.gain > 0.0 else "worse"
            why = f"{abs(against.t):.1f} standard errors {word} than the one in use"
        trust = trust_in(skill)
        return Trial(key, digest, span, skill, against, trust, promoted, why, seconds)

    def _write_down(self, trial: Trial) -> None:
        """Write every training to the ledger, so that nobody can forget those that failed."""
        figures = {
            "skill": trial.skill.gain,
            "skill_t": trial.skill.t,
            "blocks": trial.skill.blocks,
            "against": None if trial.against is None else trial.against.gain,
            "against_t": None if trial.against is None else trial.against.t,
            "rows": trial.span.rows,
            "shadow_rows": trial.span.shadow_rows,
        }
        body = {
            "artifact": trial.digest,
            "promoted": trial.promoted,
            "why": trial.why,
            "seconds": trial.seconds,
            "trained_through": iso(trial.span.trained_to),
            "figures": figures,
        }
        last = trial.span.judged_to
        self.ledger.note(TRAINING, trial.key, iso(last), body)
        if trial.promoted:
            self.champions.promote(
                Promotion(trial.key, trial.digest, last, 0, trial.trust, trial.why, figures)
            )

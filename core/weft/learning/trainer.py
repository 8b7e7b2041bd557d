"""Training: fits a component on history, judges it on what came after, and promotes the better."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import numpy as np

from weft.components.contract_checks import (
    checked_artifact,
    checked_evaluation,
    checked_universe,
)
from weft.components.model import Model, Regime
from weft.components.trained import (
    Artifact,
    ComposedDecisions,
    Evaluation,
    Trained,
    Training,
    TrainingProgress,
    ignore_progress,
)
from weft.compose.composition import Composition
from weft.config.resolve import canonical_options
from weft.foundation.clock import Clock, SystemClock
from weft.foundation.errors import (
    ArtifactError,
    ComponentError,
    DataError,
    LearningError,
    MissingDependencyError,
    TrainingError,
)
from weft.foundation.times import DAY, iso, parse_time
from weft.learning.artifacts import Artifacts, FolderCheckpoints
from weft.learning.cards import about_of
from weft.learning.champions import Champions, Promotion, expect_made_by, made_ready
from weft.learning.history_run import compose_history, first_half, second_half
from weft.learning.judging import FEWEST_SPANS, Comparison, compare, skill_of, trust_in
from weft.learning.records import TRAINING, ChampionScore, Rules, TrainingResult, TrainingRows
from weft.learning.retention import remove_unneeded
from weft.learning.trainings import Trainings
from weft.learning.under_way import UnderWay, read_under_way, shown_under_way
from weft.ledger.ledger import Ledger
from weft.market.market import Market
from weft.market.view import View

T = TypeVar("T")

_SAME_TRUST = 0.01


@dataclass(frozen=True, slots=True)
class TrainingView:
    """The rows a component is trained or judged on.

    Attributes:
        component: that is trained or judged.
        view: of the rows.
        opinions: what the composition said on them; None where it does not learn from that.
    """

    component: Trained
    view: View
    opinions: ComposedDecisions | None = None

    def shown(self, training: Training, ready: Any = None) -> tuple[View, Training]:  # noqa: ANN401  # what the component works with
        """Return what the component sees, with what it learnt, and what goes with it."""
        title = self.component.title()
        view = self.view.restricted(self.component.needs, title, ready)
        return view, replace(training, opinions=self.opinions)


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
        trainings: what the ledger tells of them.
    """

    composition: Composition
    market: Market
    champions: Champions
    artifacts: Artifacts
    ledger: Ledger
    rules: Rules = field(default_factory=Rules)
    stopwatch: Callable[[], float] = time.perf_counter
    clock: Clock = field(default_factory=SystemClock)
    trainings: Trainings = field(init=False)

    def __post_init__(self) -> None:
        self.trainings = Trainings(self.ledger)

    def span(self, key: str, last: int) -> TrainingRows:
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
        return TrainingRows(trained_to - (taken - 1) * micros, trained_to, last, taken, shadow)

    def _shadow_rows(self, rows: int) -> int:
        """Return how many of so many rows are kept to judge on."""
        most = self.rules.shadow_spans_most * self.composition.horizon_candles
        return max(min(int(rows * self.rules.shadow_share), most), 1)

    def _rows_needed(self, least: int) -> int:
        """Return how many rows there have to be so that `least` are left to train on."""
        rows = least + 1
        while rows - self._shadow_rows(rows) < least:
            rows += least - (rows - self._shadow_rows(rows))
        return rows

    def train(
        self, key: str, last: int, progress: TrainingProgress = ignore_progress
    ) -> TrainingResult:
        """Train a component, judge it, and promote it if it is better than what is in use.

        Args:
            key: the component's key in config.
            last: newest decision row; nothing later is looked at. Microseconds since 1970.
            progress: told how far it has come.

        Raises:
            TrainingError: nothing can be learnt, or another process trains it; the champion stays.
            StorageError: the artifact or the ledger cannot be written; the champion stays.
        """
        # Beyond the last candle there is nothing to train on or to be judged by.
        span = self.span(key, min(last, self.market.last_close or last))
        folder = self.artifacts.folder / key
        with (
            self.artifacts.training(key),
            shown_under_way(folder, self.clock.now, progress) as shown,
        ):
            return self._train(key, span, shown)

    def under_way(self) -> dict[str, UnderWay]:
        """Return the trainings under way in any process, by the component's key in config."""
        found = {}
        for key in self.composition.trained:
            training = read_under_way(self.artifacts.folder / key, self.clock.now())
            if training is not None:
                found[key] = training
        return found

    def cheapest_first(self) -> list[str]:
        """Return the keys of the trained components, those whose training takes least first.

        By the latest training here where there was one, else by what the component expects.
        """
        rows = max(self.market.rows_until(self.market.last_close or 0), 1)
        measured = self.trainings.by_key()

        def seconds(key: str) -> float:
            component = self.composition.trained[key]
            if key in measured:
                return float(measured[key].last["seconds"])
            return component.seconds_per_row * min(rows, component.most_rows)

        return sorted(self.composition.trained, key=lambda key: (seconds(key), key))

    def _train(self, key: str, span: TrainingRows, progress: TrainingProgress) -> TrainingResult:
        component = self.composition.trained[key]
        options = canonical_options(component.config)
        unfinished = self.artifacts.folder / "unfinished" / key
        span = self._resumed(span, options, unfinished)
        previous = self._previous(key, component, options, span)
        checkpoints = FolderCheckpoints(unfinished, self._signature(span, options))
        begin = self.stopwatch()
        training = replace(
            self._training(key), progress=progress, checkpoints=checkpoints, previous=previous
        )
        artifact = self._fitted(key, span, training)
        ready = made_ready(component, artifact)
        seconds = self.stopwatch() - begin
        shadow = self._scene(key, span.judged_to, span.shadow_rows)
        evaluation = self._judge(key, shadow, ready)
        skill = skill_of(evaluation, self.composition.horizon_candles)
        standing = self._standing(key, span, shadow)
        against = None
        if standing is not None:
            against = compare(evaluation.loss, standing.loss, self.composition.horizon_candles)
        made_for, seed = self.composition.made_for, self.rules.seed
        about = about_of(component.title(), options, span, skill, {**made_for, "seed": seed})
        kept = self.artifacts.keep(key, artifact, about)
        trial = self._decide(key, kept.digest, span, skill, against, seconds)
        if standing is not None and standing.digest == kept.digest:
            trial = replace(trial, promoted=False, why="it is the same as the one in use")
        self._write_down(trial)
        if standing is not None and not trial.promoted:
            self._judge_anew(key, span, standing)
        checkpoints.clear()
        remove_unneeded(self.artifacts, self.ledger, key, kept, self.rules.keep_unpromoted)
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
        component = self.composition.trained[key]
        options = canonical_options(component.config)
        expect_made_by(component, kept, options, self.composition.made_for)
        made_ready(component, kept.artifact)
        about = self.artifacts.about(key, found[0])
        effective, trust = max(last, about["known_at"]), float(about["trust"])
        promotion = Promotion(key, found[0], effective, 0, trust, why)
        self.champions.promote(promotion)
        # Should another process have removed it, not knowing of this.
        self.artifacts.keep(key, kept.artifact, kept.about)
        return promotion

    def roll_back(self, key: str, last: int) -> Promotion:
        """Take the artifact into use again that was champion before the one at a decision row.

        Raises:
            LearningError: there was none.
        """
        used = [p.digest for p in self.champions.ranked(key, last)]
        earlier = [digest for digest in used if digest != used[0]]
        if not earlier:
            raise LearningError(
                "there is no artifact to go back to",
                where=key,
                hint="`weft models list` shows what was used when",
            )
        return self.promote(key, earlier[0], last, f"rolled back from {used[0][:8]}")

    def _signature(self, span: TrainingRows, options: str) -> dict[str, Any]:
        """Return what tells one training from another."""
        return {
            "options": options,
            "seed": self.rules.seed,
            "first": span.first,
            "trained_to": span.trained_to,
            **self.composition.made_for,
        }

    def _resumed(self, span: TrainingRows, options: str, unfinished: Path) -> TrainingRows:
        """Return the span of a training that was stopped within the last day, to finish it.

        Without one, or where it was another kind of training, the span that is handed in.
        """
        kept = FolderCheckpoints.signature_in(unfinished) or {}
        first, trained_to = kept.get("first"), kept.get("trained_to")
        if not isinstance(first, int) or not isinstance(trained_to, int):
            return span
        micros = self.composition.interval.micros
        earlier = TrainingRows(
            first,
            trained_to,
            span.judged_to,
            (trained_to - first) // micros + 1,
            (span.judged_to - trained_to) // micros,
        )
        same = kept == self._signature(earlier, options)
        recent = 0 <= span.trained_to - trained_to <= max(DAY, micros)
        return earlier if same and recent else span

    def _fitted(self, key: str, span: TrainingRows, training: Training) -> Artifact:
        """Return what a component learns on the rows to train on."""
        component, progress = self.composition.trained[key], training.progress
        if component.learns_from_opinions:
            scene = self._scene(key, span.trained_to, span.rows, first_half(progress))
            training = replace(training, progress=second_half(progress))
        else:
            scene = self._scene(key, span.trained_to, span.rows)
        view, training = scene.shown(training)
        title = component.title()
        return self._bounded(title, lambda: checked_artifact(component.fit(view, training), title))

    def _bounded(self, title: str, function: Callable[[], T]) -> T:
        """Return the checked answer of a component's `fit` or `evaluate`, however long it takes.

        Raises:
            TrainingError: the component raised something, or answered outside its contract.
        """
        try:
            return self.composition.calls.unhurried(title, function)
        except (ComponentError, MissingDependencyError, DataError) as error:
            raise TrainingError(error.message, where=error.where, hint=error.hint) from error

    def _training(self, key: str) -> Training:
        """Return what a component is given besides its view."""
        seeds = [self.rules.seed, crc32(key.encode())]
        return Training(np.random.default_rng(seeds), self.composition.horizon_candles)

    def _scene(
        self, key: str, last: int, rows: int, progress: TrainingProgress = ignore_progress
    ) -> TrainingView:
        """Return the rows that a component is trained or judged on."""
        component, rule = self.composition.trained[key], self.composition.universe
        if component.learns_from_opinions:
            first = last - (rows - 1) * self.composition.interval.micros
            in_use = self.champions.at(self.composition.trained, first)
            view, opinions = compose_history(
                self.composition,
                self.market,
                last,
                rows,
                needs=component.needs,
                in_use=in_use,
                progress=progress,
            )
            return TrainingView(component, view, opinions)
        view = self.market.planned_for([*component.needs, *rule.needs]).view(last, rows)
        shown, title = view.restricted(rule.needs, rule.title()), rule.title()
        members = self._bounded(title, lambda: checked_universe(rule.members(shown), shown, title))
        return TrainingView(component, view.with_universe(members))

    def _previous(
        self, key: str, component: Trained, options: str, span: TrainingRows
    ) -> Artifact | None:
        """Return the artifact trained last with the same options, on rows up to these at most.

        Whether it was promoted does not count: that was decided by rows after those it was
        trained on, which may be among those this training is judged on.
        """
        for note in reversed(self.ledger.notes(TRAINING)):
            if note.symbol != key or parse_time(note.body["trained_through"]) > span.trained_to:
                continue
            try:
                kept = self.artifacts.read(key, note.body["artifact"])
                expect_made_by(component, kept, options, self.composition.made_for)
                made_ready(component, kept.artifact)
            except ArtifactError:
                continue
            return kept.artifact
        return None

    def _judge(self, key: str, scene: TrainingView, ready: Any) -> Evaluation:  # noqa: ANN401  # what the component works with
        """Return how good something a component learnt is on the rows kept for judging."""
        view, training = scene.shown(self._training(key), ready)
        component, title = scene.component, scene.component.title()
        return self._bounded(
            title, lambda: checked_evaluation(component.evaluate(view, training), view, title)
        )

    def _standing(self, key: str, span: TrainingRows, shadow: TrainingView) -> ChampionScore | None:
        """Return how the champion does on the rows kept for judging that it was not trained on."""
        champion = self.champions.at({key: shadow.component}, span.judged_to).learned.get(key)
        if champion is None:
            return None
        try:
            about = self.artifacts.about(key, champion.digest)
        except ArtifactError:
            # Without knowing what it was trained on there is no fair comparison.
            return None
        found = self._judge(key, shadow, champion.ready)
        rows = np.arange(len(found.loss)) * self.composition.interval.micros + span.trained_to
        loss = np.where(rows >= about["trained_to"], found.loss, np.nan)
        skill = compare(loss, found.baseline, self.composition.horizon_candles)
        return ChampionScore(champion.digest, champion.trust, loss, skill)

    def _judge_anew(self, key: str, span: TrainingRows, standing: ChampionScore) -> None:
        """Trust a champion that stays as far as it deserves by now: an edge may have gone."""
        skill, trust = standing.skill, trust_in(standing.skill)
        if skill.blocks < FEWEST_SPANS or abs(trust - standing.trust) < _SAME_TRUST:
            return
        word = "better" if skill.gain > 0.0 else "worse"
        errors = f"{abs(skill.sureness):.1f} standard errors {word} than knowing nothing"
        self.champions.promote(
            Promotion(key, standing.digest, span.judged_to, 0, trust, f"judged anew: {errors}")
        )

    def _decide(
        self,
        key: str,
        digest: str,
        span: TrainingRows,
        skill: Comparison,
        against: Comparison | None,
        seconds: float,
    ) -> TrainingResult:
        promoted, why = True, "the first of its kind"
        # Models and regimes are listened to as far as they are trusted, by all who use them.
        used_in_full = not isinstance(self.composition.trained[key], Model | Regime)
        if skill.blocks == 0:
            promoted, why = False, "nothing could be judged on what came after its training"
        elif against is not None and against.blocks < FEWEST_SPANS:
            spans = f"{against.blocks} spans alone, of {FEWEST_SPANS} that it takes"
            promoted, why = False, f"it could be compared with the one in use over {spans}"
        elif against is not None:
            promoted = against.gain > 0.0 and against.sureness >= self.rules.promote_above
            word = "better" if against.gain > 0.0 else "worse"
            why = f"{abs(against.sureness):.1f} standard errors {word} than the one in use"
        elif used_in_full and skill.sureness < -self.rules.promote_above:
            errors = f"{abs(skill.sureness):.1f} standard errors"
            promoted, why = False, f"it is {errors} worse than doing without it"
        trust = trust_in(skill)
        return TrainingResult(key, digest, span, skill, against, trust, promoted, why, seconds)

    def _write_down(self, trial: TrainingResult) -> None:
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

"""Trainer: fits a component on history, judges it on later rows, and promotes it if better."""

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
from weft.learning.cards import provenance_of
from weft.learning.champions import Champions, Promotion, expect_trained_for, load_artifact
from weft.learning.history_run import compose_history, first_half, second_half
from weft.learning.judging import FEWEST_SPANS, Comparison, compare, skill_of, trust_in
from weft.learning.records import (
    TRAINING,
    ChampionScore,
    Rules,
    TrainingResult,
    TrainingRows,
    Trainings,
)
from weft.learning.retention import remove_unneeded
from weft.learning.under_way import UnderWay, read_under_way, shown_under_way
from weft.ledger.ledger import Ledger
from weft.market.market import Market
from weft.market.view import View

_SMALLEST_CHANGE = 0.01
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrainingView:
    """Rows that a component is trained or judged on.

    Attributes:
        component: component to train or judge.
        view: view of the rows.
        decisions: decisions of the composition on the rows; None for a component that does not
            learn from them.
    """

    component: Trained
    view: View
    decisions: ComposedDecisions | None = None

    def arguments(self, training: Training, ready: Any = None) -> tuple[View, Training]:  # noqa: ANN401  # what the component works with
        """Return the arguments of `fit` and `evaluate`: restricted view and training."""
        title = self.component.title()
        view = self.view.restricted(self.component.needs, title, ready)
        return view, replace(training, decisions=self.decisions)


@dataclass(slots=True)
class Trainer:
    """Trainer of the components of one composition.

    Attributes:
        composition: composition with the components.
        market: source of views of history.
        champions: artifacts in use.
        artifacts: artifacts on disk.
        ledger: ledger that records every training, promoted or not.
        rules: rules of training and judging.
        stopwatch: seconds of a monotonic clock.
        clock: time of progress reports.
        trainings: trainings in the ledger.
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
        """Return the rows of a training at a decision row.

        Args:
            key: key of the component in config.
            last: newest decision row, microseconds since 1970.

        Raises:
            TrainingError: there are too few rows; the message says how many are missing.
        """
        component = self.composition.trained[key]
        micros = self.composition.interval.micros
        rows = self.market.rows_until(last)
        shadow, least = self._shadow_rows(rows), component.least_rows
        if rows - shadow < least:
            missing = self._rows_needed(least) - rows
            raise TrainingError(
                f"{rows + missing:,} rows of {self.composition.interval} candles are required, of "
                f"which {least:,} are trained on; there are {rows:,}, {missing:,} are missing and "
                f"will be there at {iso(last + missing * micros)}",
                where=key,
                hint="Fetch older candles with `weft backfill --since ...`; see `weft guide`",
            )
        used = min(rows - shadow, component.most_rows)
        trained_to = last - shadow * micros
        return TrainingRows(trained_to - (used - 1) * micros, trained_to, last, used, shadow)

    def _shadow_rows(self, rows: int) -> int:
        """Return how many of the rows are judged on."""
        most = self.rules.shadow_spans_most * self.composition.horizon_candles
        return max(min(int(rows * self.rules.shadow_share), most), 1)

    def _rows_needed(self, least: int) -> int:
        """Return the number of rows required to train on `least` of them."""
        rows = least + 1
        while rows - self._shadow_rows(rows) < least:
            rows += least - (rows - self._shadow_rows(rows))
        return rows

    def train(
        self, key: str, last: int, progress: TrainingProgress = ignore_progress
    ) -> TrainingResult:
        """Train a component, judge it, and promote it if it is better than the champion.

        Args:
            key: key of the component in config.
            last: newest decision row, microseconds since 1970; later rows are not used.
            progress: called with the progress.

        Raises:
            TrainingError: training failed, or another process trains the component; the champion
                stays.
            StorageError: the artifact or the ledger cannot be written; the champion stays.
        """
        # There are no outcomes after the last candle.
        span = self.span(key, min(last, self.market.last_close or last))
        folder = self.artifacts.folder / key
        with (
            self.artifacts.training(key),
            shown_under_way(folder, self.clock.now, progress) as shown,
        ):
            return self._train(key, span, shown)

    def under_way(self) -> dict[str, UnderWay]:
        """Return the trainings under way in any process, by the component's key in config."""
        trainings = {}
        for key in self.composition.trained:
            training = read_under_way(self.artifacts.folder / key, self.clock.now())
            if training is not None:
                trainings[key] = training
        return trainings

    def cheapest_first(self) -> list[str]:
        """Return the keys of the trained components, the fastest to train first.

        Durations are those of the latest trainings in the ledger, otherwise estimates by
        `Trained.seconds_per_row`.
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
        start = self.stopwatch()
        training = replace(
            self._training(key), progress=progress, checkpoints=checkpoints, previous=previous
        )
        artifact = self._fitted(key, span, training)
        ready = load_artifact(component, artifact)
        seconds = self.stopwatch() - start
        shadow = self._view(key, span.judged_to, span.shadow_rows)
        evaluation = self._judge(key, shadow, ready)
        skill = skill_of(evaluation, self.composition.horizon_candles)
        champion = self._champion_score(key, span, shadow)
        against = None
        if champion is not None:
            against = compare(evaluation.loss, champion.loss, self.composition.horizon_candles)
        trained_for, seed = self.composition.trained_for, self.rules.seed
        provenance = provenance_of(
            component.title(), options, span, skill, {**trained_for, "seed": seed}
        )
        stored = self.artifacts.keep(key, artifact, provenance)
        result = self._decide(key, stored.digest, span, skill, against, seconds)
        if champion is not None and champion.digest == stored.digest:
            same = "not promoted: identical to the artifact in use"
            result = replace(result, promoted=False, why=same)
        self._record(result)
        if champion is not None and not result.promoted:
            self._update_trust(key, span, champion)
        checkpoints.clear()
        remove_unneeded(self.artifacts, self.ledger, key, stored, self.rules.keep_unpromoted)
        return result

    def promote(self, key: str, digest: str, last: int, why: str) -> Promotion:
        """Promote an artifact from a decision row on, whatever its judging.

        Args:
            key: key of the component in config.
            digest: digest of the artifact, or its first characters.
            last: decision row, microseconds since 1970.
            why: reason, for users.

        Raises:
            LearningError: there is no such artifact, or it cannot be used.
        """
        digests = self.artifacts.digests(key)
        matches = [candidate for candidate in digests if candidate.startswith(digest)]
        if len(matches) != 1:
            available = ", ".join(candidate[:8] for candidate in digests) or "none"
            raise LearningError(
                f"{len(matches)} artifacts begin with {digest!r}",
                where=key,
                hint=f"Available: {available}; `weft models show {key}` lists them",
            )
        stored = self.artifacts.read(key, matches[0])
        component = self.composition.trained[key]
        options = canonical_options(component.config)
        expect_trained_for(component, stored, options, self.composition.trained_for)
        load_artifact(component, stored.artifact)
        provenance = self.artifacts.provenance(key, matches[0])
        effective, trust = max(last, provenance["known_at"]), float(provenance["trust"])
        promotion = Promotion(key, matches[0], effective, 0, trust, why)
        self.champions.promote(promotion)
        # Another process may have removed the artifact before it saw the promotion.
        self.artifacts.keep(key, stored.artifact, stored.provenance)
        return promotion

    def roll_back(self, key: str, last: int) -> Promotion:
        """Promote the artifact that was champion before the one at a decision row.

        Raises:
            LearningError: there is no earlier champion.
        """
        used = [p.digest for p in self.champions.ranked(key, last)]
        earlier = [digest for digest in used if digest != used[0]]
        if not earlier:
            raise LearningError(
                "there is no earlier artifact to go back to",
                where=key,
                hint=f"`weft models show {key}` lists its promotions",
            )
        return self.promote(key, earlier[0], last, f"rolled back from {used[0][:8]}")

    def _signature(self, span: TrainingRows, options: str) -> dict[str, Any]:
        """Return JSON values that identify a training."""
        return {
            "options": options,
            "seed": self.rules.seed,
            "first": span.first,
            "trained_to": span.trained_to,
            **self.composition.trained_for,
        }

    def _resumed(self, span: TrainingRows, options: str, unfinished: Path) -> TrainingRows:
        """Return the rows of an equal training stopped within the last day, to finish it.

        Without such a training, return the given rows.
        """
        signature = FolderCheckpoints.signature_in(unfinished) or {}
        first, trained_to = signature.get("first"), signature.get("trained_to")
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
        same = signature == self._signature(earlier, options)
        recent = 0 <= span.trained_to - trained_to <= max(DAY, micros)
        return earlier if same and recent else span

    def _fitted(self, key: str, span: TrainingRows, training: Training) -> Artifact:
        """Return the artifact of a component trained on the training rows."""
        component, progress = self.composition.trained[key], training.progress
        if component.learns_from_decisions:
            rows = self._view(key, span.trained_to, span.rows, first_half(progress))
            training = replace(training, progress=second_half(progress))
        else:
            rows = self._view(key, span.trained_to, span.rows)
        view, training = rows.arguments(training)
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
        """Return the arguments of a training besides the view."""
        seeds = [self.rules.seed, crc32(key.encode())]
        return Training(np.random.default_rng(seeds), self.composition.horizon_candles)

    def _view(
        self, key: str, last: int, rows: int, progress: TrainingProgress = ignore_progress
    ) -> TrainingView:
        """Return the rows up to a decision row, for training or judging."""
        component, rule = self.composition.trained[key], self.composition.universe
        if component.learns_from_decisions:
            first = last - (rows - 1) * self.composition.interval.micros
            active = self.champions.active_artifacts(self.composition.trained, first)
            view, decisions = compose_history(
                self.composition,
                self.market,
                last,
                rows,
                needs=component.needs,
                active=active,
                progress=progress,
            )
            return TrainingView(component, view, decisions)
        view = self.market.planned_for([*component.needs, *rule.needs]).view(last, rows)
        shown, title = view.restricted(rule.needs, rule.title()), rule.title()
        members = self._bounded(title, lambda: checked_universe(rule.members(shown), shown, title))
        return TrainingView(component, view.with_universe(members))

    def _previous(
        self, key: str, component: Trained, options: str, span: TrainingRows
    ) -> Artifact | None:
        """Return the artifact last trained with the same options, on rows no later than these.

        Promoted or not does not matter: promotions depend on later rows, which this training may
        be judged on.
        """
        for note in reversed(self.ledger.notes(TRAINING)):
            if note.symbol != key or parse_time(note.body["trained_through"]) > span.trained_to:
                continue
            try:
                stored = self.artifacts.read(key, note.body["artifact"])
                expect_trained_for(component, stored, options, self.composition.trained_for)
                load_artifact(component, stored.artifact)
            except ArtifactError:
                continue
            return stored.artifact
        return None

    def _judge(self, key: str, rows: TrainingView, ready: Any) -> Evaluation:  # noqa: ANN401  # what the component works with
        """Return the losses of a loaded artifact on the judging rows."""
        view, training = rows.arguments(self._training(key), ready)
        component, title = rows.component, rows.component.title()
        return self._bounded(
            title, lambda: checked_evaluation(component.evaluate(view, training), view, title)
        )

    def _champion_score(
        self, key: str, span: TrainingRows, shadow: TrainingView
    ) -> ChampionScore | None:
        """Return the score of the champion on judging rows it was not trained on."""
        champion = self.champions.active_artifacts(
            {key: shadow.component}, span.judged_to
        ).learned.get(key)
        if champion is None:
            return None
        try:
            provenance = self.artifacts.provenance(key, champion.digest)
        except ArtifactError:
            # Without its training rows there is no fair comparison.
            return None
        evaluation = self._judge(key, shadow, champion.ready)
        rows = np.arange(len(evaluation.loss)) * self.composition.interval.micros + span.trained_to
        loss = np.where(rows >= provenance["trained_to"], evaluation.loss, np.nan)
        skill = compare(loss, evaluation.baseline, self.composition.horizon_candles)
        return ChampionScore(champion.digest, champion.trust, loss, skill)

    def _update_trust(self, key: str, span: TrainingRows, champion: ChampionScore) -> None:
        """Update the trust in a champion that stays by its latest rows: an edge may have gone."""
        skill, trust = champion.skill, trust_in(champion.skill)
        if skill.blocks < FEWEST_SPANS or abs(trust - champion.trust) < _SMALLEST_CHANGE:
            return
        word = "better" if skill.gain > 0.0 else "worse"
        why = f"judged again: {abs(skill.sureness):.1f} standard errors {word} than the baseline"
        self.champions.promote(Promotion(key, champion.digest, span.judged_to, 0, trust, why))

    def _decide(
        self,
        key: str,
        digest: str,
        span: TrainingRows,
        skill: Comparison,
        against: Comparison | None,
        seconds: float,
    ) -> TrainingResult:
        least = self.rules.promote_above
        promoted, why = True, "the first artifact of this component"
        # Composing weights models and regimes by trust; other components act in full.
        acts_in_full = not isinstance(self.composition.trained[key], Model | Regime)
        if skill.blocks == 0:
            promoted, why = False, "no outcome after its training rows is known to judge it on"
        elif against is not None and against.blocks < FEWEST_SPANS:
            why = f"only {against.blocks} independent spans to compare on; "
            promoted, why = False, f"{why}{FEWEST_SPANS} are required"
        elif against is not None:
            promoted = against.gain > 0.0 and against.sureness >= least
            why = _versus(against, "the artifact in use")
            if against.gain > 0.0 and not promoted:
                why += f"; {least:.1f} are required"
        elif acts_in_full and skill.sureness < -least:
            promoted, why = False, _versus(skill, "no artifact")
        why = f"{'promoted' if promoted else 'not promoted'}: {why}"
        return TrainingResult(
            key, digest, span, skill, against, trust_in(skill), promoted, why, seconds
        )

    def _record(self, result: TrainingResult) -> None:
        """Record a training in the ledger, promoted or not, so that failures stay visible."""
        figures = {
            "skill": result.skill.gain,
            "skill_t": result.skill.t,
            "blocks": result.skill.blocks,
            "against": None if result.against is None else result.against.gain,
            "against_t": None if result.against is None else result.against.t,
            "rows": result.span.rows,
            "shadow_rows": result.span.shadow_rows,
        }
        body = {
            "artifact": result.digest,
            "promoted": result.promoted,
            "why": result.why,
            "seconds": result.seconds,
            "trained_through": iso(result.span.trained_to),
            "figures": figures,
        }
        last = result.span.judged_to
        self.ledger.note(TRAINING, result.key, iso(last), body)
        if result.promoted:
            self.champions.promote(
                Promotion(result.key, result.digest, last, 0, result.trust, result.why, figures)
            )


def _versus(comparison: Comparison, other: str) -> str:
    """Return how much better or worse an artifact is, for users."""
    word = "better" if comparison.gain > 0.0 else "worse"
    return f"{abs(comparison.sureness):.1f} standard errors {word} than {other}"

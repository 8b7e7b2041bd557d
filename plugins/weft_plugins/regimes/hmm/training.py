"""Training: from observations to named parameters and a model card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.components.trained import Training
from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.errors import ArtifactError, TrainingError
from weft_plugins.checkpoints import sealed_file
from weft_plugins.regimes.hmm.filter import ForwardFilter
from weft_plugins.regimes.hmm.fitting import Effort, Fitted, fit_restarts
from weft_plugins.regimes.hmm.market import RETURN, RSI, VOLATILITY, VOLUME
from weft_plugins.regimes.hmm.naming import (
    false_name,
    match,
    named_by_statistics,
    reordered,
    state_names,
)
from weft_plugins.regimes.hmm.parameters import FILE, Parameters, stationary
from weft_plugins.regimes.hmm.stateless import fit_stateless

if TYPE_CHECKING:
    from weft_plugins.regimes.hmm.detector import HiddenMarkov

_WHERE = "regime hmm"
_ROWS_PER_STATE = 50
_FEWEST_STATES = 2
_HELD_OUT = 0.2
_JUMP = 5.0
_SMALL_COST = 0.5

_FURTHER_COLUMNS: Mapping[str, tuple[str, Callable[[Floats], Floats]]] = {
    VOLATILITY: ("typical_volatility", np.exp),
    VOLUME: ("typical_volume_ratio", np.exp),
    RSI: ("mean_rsi", np.asarray),
}

Card = dict[str, Any]


def train(
    observed: FloatPanel, config: "HiddenMarkov.Config", training: Training
) -> tuple[Parameters, Card]:
    """Return fitted parameters and the card.

    Args:
        observed: observations of the market (time, feature), NaN where unknown.
        config: options of the component.
        training: random numbers, progress and the previous artifact.

    Raises:
        TrainingError: too few rows are known, a feature is constant, a fit diverged, or
            every fit has a degenerate state.
    """
    known = observed[np.isfinite(observed).all(axis=1)]
    least = _ROWS_PER_STATE * max(config.states)
    if len(known) < least:
        raise TrainingError(
            f"only {len(known):,} of {len(observed):,} rows are known; {least:,} are required",
            where=_WHERE,
            hint="Backfill more history, or add the reference asset",
        )
    center, scale = known.mean(axis=0), known.std(axis=0)
    _expect_changes(config.observed, center, scale)
    standardised = (observed - center) / scale
    steps = _Steps(config, training)
    states, held_out = _best_count(standardised, config, training.rng, steps)
    fitted, spread = _fit_soundly(standardised, states, config, training.rng, steps)
    parameters = Parameters(
        features=config.observed,
        center=center,
        scale=scale,
        names=tuple(str(s) for s in range(states)),
        transition=fitted.transition,
        means=fitted.means,
        covariances=fitted.covariances,
        stateless=fit_stateless(
            observed[:, 0],
            stationary(fitted.transition),
            center[0] + scale[0] * fitted.means[:, 0],
            scale[0] ** 2 * fitted.covariances[:, 0, 0],
            config.variance_floor,
        ),
    )
    parameters, matched = _named(parameters, training, config.alarm_cost)
    card = {
        "rows": len(known),
        "features": _by_name(config.observed, {"mean": center, "deviation": scale}),
        "states": _states(parameters),
        "restarts": spread,
        "match": matched,
        "without_states": parameters.stateless.to_document(),
        **({"held_out_log_likelihood": held_out} if held_out else {}),
    }
    return parameters, card


class _Steps:
    """Progress of all fits together."""

    def __init__(self, config: "HiddenMarkov.Config", training: Training) -> None:
        counts = len(config.states)
        self._total = config.restarts * (counts + 1 if counts > 1 else 1)
        self._done = 0
        self._training = training

    def __call__(self, loss: float) -> None:
        self._done += 1
        # A second round of fits with diagonal covariances is not in the total.
        self._training.progress(self._done, max(self._total, self._done), loss=loss)


def _expect_changes(features: Sequence[str], center: Floats, scale: Floats) -> None:
    for name, mean, deviation in zip(features, center, scale, strict=True):
        if not deviation > 1e-9 * max(1.0, abs(mean)):
            raise TrainingError(
                f"{name} is constant, {mean:g} on every row",
                where=_WHERE,
                hint="Check the candles of the reference asset",
            )


def _best_count(
    observed: FloatPanel,
    config: "HiddenMarkov.Config",
    rng: np.random.Generator,
    steps: _Steps,
) -> tuple[int, dict[str, float]]:
    """Return the number of states with the best held-out log likelihood, and the likelihoods.

    Criteria on the training rows, such as BIC, prefer ever more states on real returns, because
    returns have heavier tails than a mixture of a few Gaussians.
    """
    if len(config.states) == 1:
        return config.states[0], {}
    first = len(observed) - int(len(observed) * _HELD_OUT)
    held_out = {}
    for count in sorted(set(config.states)):
        fitted, _ = _fit(observed[:first], count, config, rng, steps)
        model = ForwardFilter.of(
            stationary(fitted.transition), fitted.transition, fitted.means, fitted.covariances
        )
        _, log_density = model.run(observed)
        held_out[count] = float(np.nanmean(log_density[first:]))
    best = max(held_out, key=held_out.__getitem__)
    return best, {str(count): value for count, value in held_out.items()}


class _DegenerateError(TrainingError):
    """Every fit has a degenerate state."""


def _fit_soundly(
    observed: FloatPanel,
    states: int,
    config: "HiddenMarkov.Config",
    rng: np.random.Generator,
    steps: _Steps,
) -> tuple[Fitted, Card]:
    """Return the best fit without a degenerate state, with as many states as possible.

    Returns may jump so far that a few rows form a state in every fit.

    Raises:
        TrainingError: two states are degenerate as well, or a fit diverged.
    """
    refused: list[str] = []
    while True:
        try:
            fitted, card = _fit(observed, states, config, rng, steps)
        except _DegenerateError as error:
            if states == _FEWEST_STATES:
                raise
            refused.append(f"{states} states: {error.message}")
            states -= 1
        else:
            return fitted, {**card, "instead_of": refused}


def _fit(
    observed: FloatPanel,
    states: int,
    config: "HiddenMarkov.Config",
    rng: np.random.Generator,
    steps: _Steps,
) -> tuple[Fitted, Card]:
    """Return the best fit; with diagonal covariances where all full ones are degenerate."""
    effort = Effort(
        config.restarts,
        config.iterations,
        config.tolerance,
        config.variance_floor,
        config.least_share,
    )
    run = partial(fit_restarts, observed, states, effort=effort, rng=rng, done=steps)
    fits = run(config.covariance)
    kind = config.covariance
    refused = fits[0].degenerate
    if refused and kind != "diag" and observed.shape[1] > 1:
        kind = "diag"
        fits = run(kind)
    best = fits[0]
    if best.degenerate:
        raise _DegenerateError(
            f"{best.degenerate}, in each of {config.restarts} fits of {states} states",
            where=_WHERE,
            hint="Fit fewer states, or more history",
        )
    likelihoods = [f.log_likelihood for f in fits]
    return best, {
        "covariance": kind,
        "fallback": f"full covariances: {refused}" if kind != config.covariance else None,
        "log_likelihood_per_row": likelihoods,
        "spread": max(likelihoods) - min(likelihoods),
        "degenerate": [f.degenerate for f in fits if f.degenerate],
        "converged": best.converged,
        "shares_smoothed": sorted(best.shares.tolist()),
    }


def _named(
    parameters: Parameters, training: Training, alarm_cost: float
) -> tuple[Parameters, Card]:
    """Return parameters with named states, and their relation to the previous fit."""
    by_statistics = named_by_statistics(parameters)
    previous, reason = _previous(training, parameters)
    if previous is None:
        return by_statistics, {"previous": reason, "alarm": None}
    pairing = match(previous, by_statistics)
    before = previous.match_cost
    limit = alarm_cost if before is None else min(alarm_cost, max(_JUMP * before, _SMALL_COST))
    matched = replace(reordered(by_statistics, pairing.order), names=previous.names)
    alarm = false_name(matched) or None
    if pairing.cost > limit:
        alarm = f"states moved by {pairing.cost:.3g} nats; at most {limit:.3g} are allowed"
    mapping = {
        name: by_statistics.names[int(state)]
        for name, state in zip(previous.names, pairing.order, strict=True)
    }
    renamed = {name: now for name, now in mapping.items() if name != now}
    return replace(by_statistics if alarm else matched, match_cost=pairing.cost), {
        "previous": "used" if alarm is None else "set aside: named by statistics",
        "cost": pairing.cost,
        "costs": dict(zip(previous.names, pairing.costs.tolist(), strict=True)),
        "cost_before": before,
        "mapping": mapping,
        "differs_from_statistics": renamed,
        "alarm": alarm,
    }


def _previous(training: Training, fitted: Parameters) -> tuple[Parameters | None, str]:
    """Return the previous fit, or None and the reason why there is none to match."""
    if training.previous is None:
        return None, "none"
    try:
        content = sealed_file(training.previous, FILE, _WHERE)
        previous = Parameters.from_json(content, _WHERE)
    except ArtifactError as error:
        return None, f"unusable: {error.message}"
    names = state_names(len(fitted.names))
    if previous.features != fitted.features or previous.names != names:
        return None, "of other features or states"
    return previous, "used"


def _states(parameters: Parameters) -> Card:
    """Return a description of each state: mean, deviation, share of time, duration."""
    means, covariances = parameters.raw_means, parameters.raw_covariances
    staying = np.diag(parameters.transition)
    place = {name: column for column, name in enumerate(parameters.features)}
    further = {
        title: measure(means[:, place[name]])
        for name, (title, measure) in _FURTHER_COLUMNS.items()
        if name in place
    }
    columns: Mapping[str, Floats] = {
        "mean_log_return": means[:, place[RETURN]],
        "deviation_of_log_return": np.sqrt(covariances[:, place[RETURN], place[RETURN]]),
        **further,
        "share_of_time": stationary(parameters.transition),
        "expected_duration_candles": 1.0 / np.maximum(1.0 - staying, 1e-12),
    }
    return _by_name(parameters.names, columns)


def _by_name(names: Sequence[str], columns: Mapping[str, Floats]) -> Card:
    return {
        name: {column: float(values[i]) for column, values in columns.items()}
        for i, name in enumerate(names)
    }

"""The DQN sizer as a component: sizes, artifacts, and continued trainings."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.plugins.sizers.dqn.worlds import (
    HORIZON,
    TINY,
    MemoryCheckpoints,
    decisions,
    fitted,
    market,
    trades_of,
    view_of,
)
from weft.components.risk import Sizes
from weft.components.trained import Artifact, ComposedDecisions, Evaluation, Training
from weft.foundation.errors import (
    ArtifactError,
    MissingDependencyError,
    NotTrainedError,
    TrainingError,
)
from weft.learning.cards import check_files
from weft.learning.judging import skill_of, trust_in
from weft.testing import parametrize_with_checks
from weft.testing.history import History
from weft.testing.report import HEAVY
from weft_plugins.checkpoints import STATE, Checkpoint, pack_tensors, sealed, unpack_tensors
from weft_plugins.sizers.dqn.agent import Agent
from weft_plugins.sizers.dqn.config import SHARES
from weft_plugins.sizers.dqn.judging import habits_of
from weft_plugins.sizers.dqn.policy import AGENT, POLICY, Policy
from weft_plugins.sizers.dqn.sizer import DqnSizer
from weft_plugins.sizers.dqn.trades import closed_trades
from weft_plugins.sizers.volatility_target import VolatilityTarget

SIZER = DqnSizer(TINY)


@cache
def artifact() -> Artifact:
    return fitted(SIZER, market())[0]


def wakeful(policy: Policy) -> Policy:
    """Return a policy that chooses larger shares with more conviction."""
    # The share rises by a quarter at a conviction of 0.25, 0.5, 0.65 and 0.85.
    hidden = np.zeros((1, 7))
    hidden[0, 0] = 1.0
    wants = np.array([[0.0], [0.4], [0.6], [0.8], [1.0]])
    shift = np.array([0.0, -0.1, -0.2, -0.33, -0.5])
    layers = ((hidden, np.zeros(1)),)
    return replace(
        policy, layers=layers, value=(np.zeros((1, 1)), np.zeros(1)), advantage=(wants, shift)
    )


@cache
def policy() -> Policy:
    return wakeful(SIZER.load(artifact()))


def sized(history: History, steps: int, learned: object = None, *, among: int = 0) -> Sizes:
    output = decisions(history, max(steps, among))
    return SIZER.size(view_of(SIZER, history, steps, learned), output.fusion, output.levels)


def panels(sizes: Sizes) -> dict[str, np.ndarray]:
    return {"fraction": sizes.fraction, **sizes.evidence}


# Sizes


def test_untrained_sizer_holds_the_full_size() -> None:
    history, steps = market(), 50
    sizes = sized(history, steps)
    plain = VolatilityTarget(VolatilityTarget.Config(window=TINY.window))
    output = decisions(history, steps)
    view = history.view(plain.needs, steps=steps)
    target = plain.size(view, output.fusion, output.levels).fraction
    assert history.regime is not None
    multiplier = history.regime.last(steps).position_multiplier[:, None]
    assert (sizes.evidence["trained"] == 0.0).all()
    assert np.isnan(sizes.evidence["advantage"]).all()
    np.testing.assert_array_equal(sizes.evidence["volatility_target"], target)
    np.testing.assert_allclose(sizes.fraction, target * multiplier)
    assert sizes.fraction.max() > 0.05


def test_trained_sizer_holds_the_share_with_the_highest_value() -> None:
    sizes = sized(market(), 300, policy())
    evidence = sizes.evidence
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    values = np.stack([evidence[f"value_{100 * s:.0f}"] for s in shares], axis=-1)
    signal = np.isfinite(values).all(axis=-1)
    assert (signal == (evidence["full_size"] > 0.0)).all()
    best = np.array(shares)[values[signal].argmax(axis=-1)]
    assert (evidence["share"][signal] == best).all()
    assert set(np.unique(best)) == set(shares)
    assert (sizes.fraction == evidence["share"] * evidence["full_size"]).all()
    assert (evidence["share"][~signal] == 0.0).all()
    np.testing.assert_allclose(
        evidence["advantage"][signal], values[signal].max(axis=-1) - values[signal][:, 0]
    )
    assert (evidence["trained"] == 1.0).all()
    assert (evidence["constant"][signal] == TINY.constant).all()
    assert evidence["fractional_kelly"].max() > 0.0


def test_sizer_works_without_regime_and_forecasts() -> None:
    sizes = sized(market(reports=False), 50, policy())
    assert np.isfinite(sizes.fraction).all()
    assert sizes.fraction.max() > 0.0
    assert (sizes.evidence["full_size"] == sizes.evidence["volatility_target"]).all()


@pytest.mark.parametrize("flaws", [False, True])
def test_single_row_has_the_same_bits_as_among_many(flaws: bool) -> None:
    history, steps = market(flaws=flaws, rows=900), 40
    complete = panels(sized(history, steps, policy()))
    for back in range(steps):
        cut = history.cut(history.rows - back)
        at = steps - 1 - back
        for name, panel in panels(sized(cut, 1, policy())).items():
            np.testing.assert_array_equal(panel[0], complete[name][at], err_msg=name)


@pytest.mark.parametrize("poison", [np.nan, 1e9])
def test_future_changes_no_bit(poison: float) -> None:
    history, steps = market(), 60
    poisoned = history.after(history.rows - 30, lambda panel: np.full(panel.shape, poison))
    clean, dirty = panels(sized(history, steps, policy())), panels(sized(poisoned, steps, policy()))
    for name, panel in clean.items():
        np.testing.assert_array_equal(dirty[name][:30], panel[:30], err_msg=name)


def test_order_of_symbols_does_not_change_sizes() -> None:
    history, order = market(), np.array([2, 0, 3, 1])
    straight = panels(sized(history, 30, policy()))
    for name, panel in panels(sized(history.columns(order), 30, policy())).items():
        np.testing.assert_allclose(panel, straight[name][:, order], err_msg=name)


@pytest.mark.parametrize(
    "world",
    [
        lambda panel: np.full(panel.shape, np.nan),
        lambda panel: np.where(np.isnan(panel), np.nan, 1.0),
        lambda panel: panel * 1e-9,
        lambda panel: panel * np.exp(np.arange(len(panel)) / 50.0)[:, None],
    ],
    ids=["silent", "constant", "tiny", "exploding"],
)
def test_extreme_markets_get_a_size(world: Callable[[np.ndarray], np.ndarray]) -> None:
    history = market(reports=False).after(0, world)
    for learned in (None, policy()):
        sizes = sized(history, 60, learned)
        assert np.isfinite(sizes.fraction).all()
        assert (sizes.fraction >= 0.0).all()
        assert (sizes.fraction <= TINY.largest).all()


def test_sizer_imports_nothing_heavy() -> None:
    code = (
        "import sys, weft_plugins.sizers.dqn.sizer; "
        f"print([m for m in {(*HEAVY, 'gymnasium', 'safetensors')} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Training


@parametrize_with_checks([SIZER])
def test_trained_sizer_keeps_to_its_contract(check: Callable[[], None]) -> None:
    check()


def test_an_artifact_is_safe_and_sizes_with_what_it_learnt() -> None:
    check_files(artifact(), "sizer dqn")
    assert artifact().card["steps"] == TINY.steps
    again = fitted(SIZER, market())[0]
    assert again.card == artifact().card
    assert again.files == artifact().files
    sizes = sized(market(), 30, SIZER.load(artifact()))
    assert (sizes.evidence["trained"] == 1.0).all()


def test_killed_training_continues_to_the_same_artifact() -> None:
    stored = MemoryCheckpoints(stop_at=1)
    with pytest.raises(KeyboardInterrupt):
        fitted(SIZER, market(), checkpoints=stored)
    half = state_of(stored.saves[-1])["steps"]
    assert 0 < half < TINY.steps
    resumed, _ = fitted(SIZER, market(), checkpoints=MemoryCheckpoints(stored.files))
    assert resumed.files == artifact().files


def test_next_training_learns_only_newly_closed_trades() -> None:
    history = market()
    shorter = history.cut(history.rows - 60)
    first, _ = fitted(SIZER, shorter, 440)
    second, _ = fitted(SIZER, history, 500, MemoryCheckpoints(first.files))
    trades = closed_trades(view_of(SIZER, history, 500), decisions(history, 500), TINY, HORIZON)
    last = tuple(first.card["learnt_until"])
    newer = trades.after(last)
    assert 20 < len(newer) < len(trades)
    # The newest trade waits for its follower.
    assert second.card["steps"] == first.card["steps"] + len(newer) - 1
    assert tuple(second.card["learnt_until"]) == newer.key(len(newer) - 2)
    assert second.files[POLICY] != first.files[POLICY]
    third, _ = fitted(SIZER, history, 500, MemoryCheckpoints(second.files))
    assert third.files == second.files
    # `learn` gives the same artifact.
    rng = np.random.default_rng(999)
    by_hand = SIZER.learn(first, trades, rng, HORIZON)
    assert by_hand.files == second.files
    assert SIZER.learn(by_hand, trades, rng, HORIZON) is by_hand


def test_learning_in_two_parts_equals_learning_in_one() -> None:
    net = np.random.default_rng(1).normal(0.0, 0.02, 160)
    trades = trades_of(net, size=0.2, vol=0.02)
    empty = trades.pick(np.arange(0))
    config = TINY.model_copy(update={"replay_kept": 20_000})
    sizer = DqnSizer(config)
    start, _ = fitted(sizer, market())
    start = replace_state(start, learnt_until=[-1, -1, ""])
    rng = np.random.default_rng(0)
    assert sizer.learn(start, empty, rng, HORIZON) is start
    at_once = sizer.learn(start, trades, rng, HORIZON)
    part = sizer.learn(start, trades.pick(np.arange(80)), rng, HORIZON)
    in_two = sizer.learn(part, trades, rng, HORIZON)
    assert at_once.files == in_two.files
    assert state_of(at_once.files)["equity"] != 1.0


def state_of(files: Mapping[str, bytes]) -> Mapping[str, Any]:
    return Checkpoint.from_files(files, "sizer dqn").state


def replace_state(artifact: Artifact, **changes: object) -> Artifact:
    """Return an artifact with other values in its state, and new digests."""
    checkpoint = Checkpoint.from_files(artifact.files, "sizer dqn")
    checkpoint = replace(checkpoint, state={**checkpoint.state, **changes})
    return sealed(checkpoint.to_files(), artifact.card)


def with_file(artifact: Artifact, name: str, content: bytes) -> Artifact:
    return sealed({**artifact.files, name: content}, artifact.card)


def damaged(files: Mapping[str, bytes]) -> dict[str, Mapping[str, bytes]]:
    checkpoint = Checkpoint.from_files(files, "sizer dqn")
    broken = unpack_tensors(files[AGENT], AGENT, "sizer dqn")
    broken.pop("online.value.weight")
    short = {**checkpoint.files, AGENT: pack_tensors(broken)}
    other = {**checkpoint.state, "schema": {"version": 0}}
    return {
        "nothing": {},
        "truncated": {**files, AGENT: files[AGENT][:-7]},
        "no JSON": {**files, STATE: b"\x80\x04 no pickle either"},
        "a list": {**files, STATE: b"[]"},
        "a tensor short": replace(checkpoint, files=short).to_files(),
        "of other options": replace(checkpoint, state=other).to_files(),
    }


@pytest.mark.parametrize(
    "what", ["nothing", "truncated", "no JSON", "a list", "a tensor short", "of other options"]
)
def test_unusable_checkpoints_are_ignored(what: str) -> None:
    anew, _ = fitted(
        SIZER, market(), checkpoints=MemoryCheckpoints(damaged(artifact().files)[what])
    )
    assert anew.files == artifact().files


@pytest.mark.parametrize("best", [1, 4])
def test_evaluation_is_minus_the_rewards_of_policy_and_best_constant(best: int) -> None:
    history, steps = market(), 200
    view = view_of(SIZER, history, steps, replace(policy(), best_constant=best))
    training = Training(np.random.default_rng(0), HORIZON, decisions=decisions(history, steps))
    result = SIZER.evaluate(view, training)
    assert result.loss.shape == result.baseline.shape == (steps,)
    assert np.isnan(result.loss[-1])
    assert (np.isnan(result.loss) == np.isnan(result.baseline)).all()
    assert np.isfinite(result.loss).sum() > 150
    # By hand for a trade that is the only one on its row.
    trades = closed_trades(view, decisions(history, steps), TINY, HORIZON)
    alone = next(n for n in range(len(trades)) if (trades.opened == trades.opened[n]).sum() == 1)
    row = trades.opened[alone]
    # The most frequent share or the given one, whichever lost less on these rows.
    usual = int(np.bincount(policy().choices(trades.state)).argmax())
    losses = {n: np.nansum(evaluated(held_always(n), history, steps).loss) for n in (best, usual)}
    constant = SHARES[min(losses, key=losses.__getitem__)]
    for share, reports in (
        (sized(history, steps, policy()).evidence["share"][row, trades.column[alone]], result.loss),
        (constant, result.baseline),
    ):
        gained = share * trades.full_size[alone] * trades.net_return[alone]
        worth = gained - gained**2 / (2 * TINY.kelly_share)
        worth -= TINY.drawdown_penalty * max(-gained, 0.0)
        unit = 3.0 * trades.full_size[alone] * trades.volatility[alone]
        assert reports[row] == pytest.approx(-worth / unit)


def held_always(action: int) -> Policy:
    """Return a policy that always chooses the same share."""
    wants = np.where(np.arange(len(SHARES)) == action, 1.0, 0.0)
    nothing = np.zeros((len(SHARES), 1))
    return replace(policy(), advantage=(nothing, wants), best_constant=action)


def evaluated(learned: Policy, history: History, steps: int) -> Evaluation:
    training = Training(np.random.default_rng(0), HORIZON, decisions=decisions(history, steps))
    return SIZER.evaluate(view_of(SIZER, history, steps, learned), training)


@pytest.mark.parametrize("action", range(5))
@pytest.mark.parametrize("best", range(5))
def test_constant_policy_earns_no_trust(action: int, best: int) -> None:
    constant = replace(held_always(action), best_constant=best)
    result = evaluated(constant, market(), 300)
    skill = skill_of(result, HORIZON)
    assert skill.blocks > 12
    assert skill.gain <= 0.0
    assert trust_in(skill) == 0.0
    if action == best:
        np.testing.assert_array_equal(result.loss, result.baseline)


def test_policy_that_rarely_trades_is_judged_by_these_trades() -> None:
    history, steps = market(), 300
    trades = closed_trades(view_of(SIZER, history, steps), decisions(history, steps), TINY, HORIZON)
    nothing = held_always(0)
    hidden = np.zeros((1, 7))
    hidden[0, 0] = 1.0
    edge = np.sort(trades.state[:, 0])[-4:-2].mean()
    rarely = replace(
        nothing,
        layers=((hidden, np.array([-edge])),),
        advantage=(np.array([[0.0], [0.0], [0.0], [0.0], [1e6]]), np.array([1e-9, 0, 0, 0, 0])),
        best_constant=4,
    )
    assert 1 <= np.count_nonzero(rarely.choices(trades.state)) <= 5
    result = evaluated(rarely, history, steps)
    assert np.count_nonzero(np.nan_to_num(result.loss - result.baseline)) <= 5


def test_card_describes_the_policy_and_notes_a_constant_one() -> None:
    output = artifact().card["habits"]
    assert sum(output["chosen"].values()) == pytest.approx(1.0)
    assert output["best_constant"] in SHARES
    history, steps = market(), 500
    trades = closed_trades(view_of(SIZER, history, steps), decisions(history, steps), TINY, HORIZON)
    assert output["trades"] == len(trades)
    worth = [np.nansum(evaluated(held_always(n), history, steps).loss) for n in range(5)]
    assert output["best_constant"] == SHARES[int(np.argmin(worth))]
    card = habits_of(held_always(1), trades, TINY).to_card()
    assert (card["constant"], card["chosen"]["0.25"]) == (0.25, 1.0)
    assert "is constant: it holds 25% of the full size" in card["note"]
    free = habits_of(policy(), trades, TINY).to_card()
    assert (free["constant"], free["note"]) == (None, None)
    for is_constant in (True, False):
        learned = replace(policy(), is_constant=is_constant)
        shown = sized(history, 20, learned).evidence["policy_is_constant"]
        np.testing.assert_array_equal(shown, float(is_constant))


# Refusals


def test_training_without_decisions_or_enough_trades_is_refused() -> None:
    history = market()
    view = view_of(SIZER, history, 500)
    rng = np.random.default_rng(1)
    with pytest.raises(TrainingError, match="no decisions"):
        SIZER.fit(view, Training(rng, HORIZON))
    with pytest.raises(TrainingError, match="decisions have shape"):
        SIZER.fit(view, Training(rng, HORIZON, decisions=decisions(history, 499)))
    with pytest.raises(TrainingError, match="50 are required"):
        fitted(SIZER, history, 12)
    silent = history.after(0, lambda panel: np.full(panel.shape, np.nan))
    with pytest.raises(TrainingError, match="0 trades"):
        fitted(SIZER, silent)
    output = decisions(history, 500)
    neutral = replace(output.fusion, direction=np.zeros_like(output.fusion.direction))
    with pytest.raises(TrainingError, match="0 trades"):
        SIZER.fit(view, Training(rng, HORIZON, decisions=ComposedDecisions(neutral, output.levels)))


def test_trades_without_followers_are_refused() -> None:
    agent = Agent(TINY, np.random.default_rng(0), HORIZON)
    with pytest.raises(TrainingError, match="no trade is followed by another"):
        agent.train(trades_of(np.array([0.1])), Training(np.random.default_rng(0), HORIZON))


def test_evaluation_of_an_untrained_sizer_is_refused() -> None:
    history = market()
    with pytest.raises(NotTrainedError):
        SIZER.evaluate(
            view_of(SIZER, history, 100),
            Training(np.random.default_rng(0), HORIZON, decisions=decisions(history, 100)),
        )


def spoiled() -> dict[str, Artifact]:
    result = artifact()
    tensors = unpack_tensors(result.files[POLICY], POLICY, "sizer dqn")
    short = {name: array for name, array in tensors.items() if name != "value.bias"}
    narrow = tensors | {"hidden.0.weight": tensors["hidden.0.weight"][:, :6].copy()}
    poisoned = tensors | {"value.bias": np.array([np.nan], np.float32)}
    flipped = bytearray(result.files[POLICY])
    flipped[-1] ^= 1
    version = {**result.card["schema"], "version": 0}
    return {
        "another version": Artifact(result.files, {**result.card, "schema": version}),
        "no schema": Artifact(result.files, {"sha256": result.card["sha256"]}),
        "tampered": Artifact({**result.files, POLICY: bytes(flipped)}, result.card),
        "a file missing": Artifact({POLICY: result.files[POLICY]}, result.card),
        "truncated": with_file(result, POLICY, result.files[POLICY][:-4]),
        "a pickle": with_file(result, POLICY, b"\x80\x04cos\nsystem\n."),
        "a tensor short": with_file(result, POLICY, pack_tensors(short)),
        "another state": with_file(result, POLICY, pack_tensors(narrow)),
        "no number": with_file(result, POLICY, pack_tensors(poisoned)),
        "no horizon": Artifact(result.files, {**result.card, "horizon": None}),
        "no habits": Artifact(result.files, {**result.card, "habits": None}),
        "another share": Artifact(result.files, {**result.card, "habits": {"best_constant": 0.3}}),
    }


@pytest.mark.parametrize(
    "what",
    [
        "another version",
        "no schema",
        "tampered",
        "a file missing",
        "truncated",
        "a pickle",
        "a tensor short",
        "another state",
        "no number",
        "no horizon",
        "no habits",
        "another share",
    ],
)
def test_damaged_artifacts_are_refused(what: str) -> None:
    with pytest.raises(ArtifactError):
        SIZER.load(spoiled()[what])


def test_artifact_of_other_options_is_refused_by_name() -> None:
    other = DqnSizer(TINY.model_copy(update={"fee_bps": 50.0}))
    with pytest.raises(ArtifactError, match="another options"):
        other.load(artifact())


def test_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"torch.*pip install 'weft\[ml\]'"):
        fitted(SIZER, market())

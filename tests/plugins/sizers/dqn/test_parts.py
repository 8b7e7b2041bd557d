"""Parts of the DQN sizer against hand calculations and closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import minimize_scalar
from scipy.stats import chisquare

from tests.plugins.sizers.dqn.worlds import trades_of
from weft.components.ensemble import Fusion
from weft.components.model import Forecast, TrustedForecast
from weft.components.risk import Levels
from weft.foundation.errors import TrainingError
from weft_plugins.sizers.dqn.agent import epsilon_at
from weft_plugins.sizers.dqn.baselines import (
    expected_return,
    fractional_kelly,
    kelly_of_bet,
    kelly_of_return,
)
from weft_plugins.sizers.dqn.config import SHARES, STATE, DqnConfig
from weft_plugins.sizers.dqn.network import (
    DoubleDqn,
    DuelingNetwork,
    double_targets,
    soft_update,
)
from weft_plugins.sizers.dqn.policy import policy_of
from weft_plugins.sizers.dqn.replay import Batch, Replay
from weft_plugins.sizers.dqn.reward import UNIT, Account, rewards_of

# The network


def test_double_target_uses_the_online_choice_and_the_target_value() -> None:
    targets = double_targets(
        rewards=torch.tensor([1.0, 1.0]),
        terminated=torch.tensor([0.0, 1.0]),
        online_next=torch.tensor([[0.0, 3.0, 1.0]] * 2),
        target_next=torch.tensor([[9.0, 4.0, 7.0]] * 2),
        discount=0.5,
    )
    # The online network chooses the second action, which the target network values at 4.
    assert targets.tolist() == [1.0 + 0.5 * 4.0, 1.0]


def test_double_targets_do_not_overestimate_where_single_ones_do() -> None:
    # All actions are worth 0; the two networks err independently of each other.
    generator = torch.Generator().manual_seed(1)
    online, target = (torch.randn((20_000, 5), generator=generator) for _ in range(2))
    zero = torch.zeros(20_000)
    double = double_targets(zero, zero, online, target, 1.0).mean()
    single = target.max(dim=1).values.mean()
    assert abs(float(double)) < 4.0 / np.sqrt(20_000)
    assert single == pytest.approx(1.163, abs=0.03)  # mean of the largest of five normals


def test_soft_update_moves_each_weight_by_its_share() -> None:
    target, online = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    with torch.no_grad():
        for parameter, new in zip(target.parameters(), online.parameters(), strict=True):
            parameter.fill_(1.0)
            new.fill_(3.0)
    soft_update(target, online, 0.25)
    assert [float(p.detach()) for p in target.parameters()] == [1.5, 1.5]
    assert [float(p.detach()) for p in online.parameters()] == [3.0, 3.0]


def test_dueling_network_is_value_plus_centred_advantage() -> None:
    network = DuelingNetwork(7, (4,), 5)
    states = torch.rand((3, 7))
    with torch.no_grad():
        weights, bias = network.hidden.parameters()
        weights.zero_()
        bias.fill_(1.0)
        network.value.weight.fill_(0.5)  # V = 4 * 0.5
        network.value.bias.zero_()
        network.advantage.weight.zero_()
        network.advantage.bias.copy_(torch.tensor([10.0, 11.0, 12.0, 13.0, 14.0]))
        assert network(states)[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_chain_of_decisions_gets_its_exact_values() -> None:
    # Action 1 leads one state on, the others stay; the step out of the third state gives 1 and
    # ends everything. The fourth state gives 1 for ever: where an episode is merely cut off,
    # its value goes on counting, 1 / (1 - 0.5) = 2.
    states = np.eye(7, dtype=np.float32)[:4]
    rows = [
        (s, a, float(s == 3 or (s, a) == (2, 1)), s if a != 1 or s == 3 else min(s + 1, 2))
        for s in range(4)
        for a in range(5)
    ]
    s, a, r, f = map(np.array, zip(*rows, strict=True))
    ends = ((s == 2) & (a == 1)).astype(np.float32)
    batch = Batch(states[s], a, r.astype(np.float32), states[f], ends)
    config = DqnConfig(hidden=(32,), discount=0.5, soft_update=0.05, weight_decay=0.0)
    network = DoubleDqn(config, 7, 5, seed=1)
    for step in range(1200):
        network.learn(batch, 0.01 if step < 800 else 0.001)
    other = [0.125, 0.25, 0.5, 2.0]
    expected = np.array(
        [[v, w, v, v, v] for v, w in zip(other, [0.25, 0.5, 1.0, 2.0], strict=True)]
    )
    np.testing.assert_allclose(network.values(states), expected, atol=0.03)


def test_loss_that_is_not_finite_stops_the_training() -> None:
    network = DoubleDqn(DqnConfig(hidden=(4,)), 7, 5, seed=1)
    seen = np.full((1, 7), np.nan, np.float32)
    nothing = np.zeros(1, np.float32)
    with pytest.raises(TrainingError, match="loss became nan"):
        network.learn(Batch(seen, np.array([0]), nothing, seen, nothing), 1e-3)


def test_policy_in_numpy_equals_torch_with_the_same_bits_in_any_batch() -> None:
    network = DuelingNetwork(7, (16, 8), 5)
    policy = policy_of({n: t.numpy() for n, t in network.state_dict().items()}, 12)
    states = np.random.default_rng(1).uniform(-1, 1, (300, 7)).astype(np.float32)
    with torch.no_grad():
        reports = network(torch.from_numpy(states)).numpy()
    values = policy.values(states.astype(np.float64))
    np.testing.assert_allclose(values, reports, atol=1e-5)
    for count in (1, 2, 7, 33):
        assert (policy.values(states[:count].astype(np.float64)) == values[:count]).all()


# Exploration and memory


def test_epsilon_falls_linearly_then_stays() -> None:
    config = DqnConfig()
    reports = [epsilon_at(step, config) for step in (0, 2500, 5000, 10_000, 99_999)]
    assert reports == pytest.approx([1.0, 0.7525, 0.505, 0.01, 0.01])
    assert config.replay == 100_000


def batch_of(rewards: np.ndarray) -> Batch:
    count = len(rewards)
    states = np.repeat(rewards[:, None], 7, axis=1).astype(np.float32)
    return Batch(
        states, np.zeros(count, np.int64), rewards, states + 1, np.zeros(count, np.float32)
    )


@settings(max_examples=50, deadline=None)
@given(
    capacity=st.integers(1, 12),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8),
)
def test_replay_holds_the_newest_in_order(capacity: int, sizes: list[int]) -> None:
    ring = Replay(capacity, 7)
    every = np.arange(sum(sizes), dtype=np.float32)
    for part in np.split(every, np.cumsum(sizes)[:-1]):
        ring.add(batch_of(part))
    stored = ring.newest(capacity)
    assert stored["rewards"].tolist() == every[-capacity:].tolist()
    assert (stored["followers"] == stored["rewards"][:, None] + 1).all()
    assert len(ring) == min(capacity, len(every))


def test_replay_draws_uniformly_and_the_same_after_restoring() -> None:
    ring = Replay(10, 7)
    ring.add(batch_of(np.arange(13, dtype=np.float32)))
    drawn = ring.sample(np.random.default_rng(1), 20_000).rewards
    counts = np.bincount(drawn.astype(int), minlength=13)
    assert counts[:3].sum() == 0
    assert chisquare(counts[3:]).pvalue > 1e-3
    other = Replay(10, 7)
    other.restore(ring.newest(10))
    again = other.sample(np.random.default_rng(1), 20_000).rewards
    assert (again == drawn).all()


# The reward


def test_rewards_of_a_path_match_a_hand_calculation() -> None:
    # Full size 0.2, returns +10 % and -20 % of the position, volatility 0.05, at 100 %.
    config = DqnConfig(kelly_share=0.5, drawdown_penalty=0.3)
    rewards = rewards_of(trades_of(np.array([0.1, -0.2]), size=0.2, vol=0.05), config)
    unit = UNIT * 0.2 * 0.05
    account = Account()
    assert rewards.of(0, account)[-1] == pytest.approx((0.02 - 0.02**2 / 1.0) / unit)
    account = account.after(rewards.returns[0, -1])
    assert account.equity == pytest.approx(1.02)
    assert account.drawdown == 0.0
    assert rewards.of(1, account)[-1] == pytest.approx((-0.04 - 0.04**2 - 0.3 * 0.04) / unit)
    account = account.after(rewards.returns[1, -1])
    assert account.equity == pytest.approx(1.02 * 0.96)
    assert account.drawdown == pytest.approx(0.04)
    # A quarter of the size loses a quarter, and holding nothing is worth nothing.
    assert rewards.of(1, Account())[1] == pytest.approx((-0.01 - 0.01**2 - 0.3 * 0.01) / unit)
    assert rewards.of(1, Account())[0] == 0.0


@given(scale=st.floats(0.01, 100.0), shift=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_reward_does_not_depend_on_scale(scale: float, shift: int) -> None:
    # Moves twice as wild at half the size are the same bet, and worth the same.
    net = np.random.default_rng(shift).normal(0.0, 0.02, 50)
    config = DqnConfig()
    calm = rewards_of(trades_of(net, size=0.1, vol=0.02), config)
    wild = rewards_of(trades_of(net * scale, size=0.1 / scale, vol=0.02 * scale), config)
    np.testing.assert_allclose(wild.at_highest(), calm.at_highest(), rtol=1e-9, atol=1e-12)


@given(gain=st.floats(0.0, 30.0))
def test_reward_never_falls_with_a_higher_return(gain: float) -> None:
    rewards = rewards_of(trades_of(np.array([gain, gain + 0.1])), DqnConfig()).at_highest()
    assert (rewards[1] >= rewards[0]).all()


def test_best_share_is_the_configured_share_of_kelly() -> None:
    # Even bets won with 0.6: Kelly holds 0.2; half of Kelly 0.1, which is half of a size of 0.2.
    net = np.array([1.0] * 6 + [-1.0] * 4)
    config = DqnConfig(kelly_share=0.5, drawdown_penalty=0.0)
    mean = rewards_of(trades_of(net, size=0.2), config).at_highest().mean(axis=0)
    assert SHARES[int(mean.argmax())] == 0.5


# The baselines


@given(chance=st.floats(0.05, 0.95), gain=st.floats(0.2, 3.0), loss=st.floats(0.2, 1.0))
@settings(max_examples=40, deadline=None)
def test_kelly_fraction_maximises_growth(chance: float, gain: float, loss: float) -> None:
    def shrinking(f: float) -> float:
        return -float(chance * np.log1p(f * gain) + (1 - chance) * np.log1p(-f * loss))

    best = minimize_scalar(shrinking, bounds=(0.0, 0.999 / loss), method="bounded")
    reports = kelly_of_bet(np.array(chance), np.array(gain), np.array(loss))
    assert min(float(reports), 0.999 / loss) == pytest.approx(best.x, abs=2e-3)


def test_kelly_fraction_of_known_bets() -> None:
    item = np.array(1.0)
    assert kelly_of_bet(np.array(0.6), item, item) == pytest.approx(0.2)
    assert kelly_of_bet(np.array(0.4), item, item) == 0.0
    assert np.isnan(kelly_of_bet(np.array(0.6), item, np.array(0.0)))
    assert kelly_of_return(np.array(0.001), np.array(0.0004)) == pytest.approx(2.5)
    assert np.isnan(kelly_of_return(np.array(0.001), np.array(0.0)))


def fusion_of(direction: list[int], confidence: float, *, calibrated: bool) -> Fusion:
    side = np.array([direction], np.int8)
    return Fusion(np.zeros(side.shape), np.full(side.shape, confidence), side, {}, calibrated)


def outlook_of(mean: float, deviation: float, trust: float) -> TrustedForecast:
    panel = np.full((1, 3), mean)
    ends = {0.05: panel - 1.6448536 * deviation, 0.95: panel + 1.6448536 * deviation}
    return TrustedForecast(Forecast(panel, np.full((1, 3), 0.5), ends), trust, "00")


def test_fractional_kelly_uses_forecasts_and_deducts_costs() -> None:
    expected = expected_return(
        {"m": outlook_of(0.011, 0.1, 0.5), "n": outlook_of(0.011, 0.1, 0.5)}, (1, 3)
    )
    item = np.ones((1, 3))
    levels = Levels(item, item, item)
    fusion = fusion_of([1, -1, 0], 0.6, calibrated=False)
    reports = fractional_kelly(expected, fusion, levels, share=0.25, cost=0.001, largest=1.0)
    # 0.25 * (0.011 - 0.001) / 0.01; against the forecast, and without a signal, nothing.
    np.testing.assert_allclose(reports, [[0.25, 0.0, 0.0]], rtol=1e-6)


def test_expected_return_is_weighted_by_trust() -> None:
    expected = expected_return(
        {"m": outlook_of(0.02, 0.1, 0.3), "n": outlook_of(-0.5, 0.1, 0.0)}, (1, 3)
    )
    np.testing.assert_allclose(expected.mean, 0.3 * 0.02)
    np.testing.assert_allclose(expected.variance, 0.01, rtol=1e-6)
    assert np.isnan(expected_return({}, (1, 3)).mean).all()


def test_fractional_kelly_without_forecasts_uses_calibrated_confidence() -> None:
    item = np.ones((1, 3))
    levels = Levels(item, 0.9 * item, 1.1 * item)
    long_only = [1, 0, 1]
    for calibrated, reports in ((True, 0.25 * 0.2 / 0.1), (False, 0.0)):
        fusion = fusion_of(long_only, 0.6, calibrated=calibrated)
        result = fractional_kelly(
            expected_return({}, (1, 3)), fusion, levels, share=0.25, cost=0.0, largest=9.0
        )
        np.testing.assert_allclose(result, [[reports, 0.0, reports]])


def test_state_has_seven_numbers_and_five_shares() -> None:
    assert len(STATE) == 7
    assert SHARES == (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replay": 10, "replay_kept": 20},
        {"epsilon_first": 0.1, "epsilon_last": 0.2},
        {"hidden": (0,)},
        {"hidden": (4097,)},
        {"hidden": (8,) * 9},
        {"batch": 10**9},
        {"replay": 10**12},
        {"steps": 10**15},
        {"updates_per_step": 10**9},
    ],
)
def test_contradicting_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DqnConfig.model_validate(wrong)

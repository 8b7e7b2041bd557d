"""The agent learns known edges, and nothing where there is none."""

import numpy as np
import pytest
from scipy.stats import bootstrap, trim_mean

from tests.plugins.sizers.dqn.worlds import HORIZON, shares_after_training, trades_of
from weft.components.trained import Training
from weft.foundation.errors import TrainingError
from weft_plugins.sizers.dqn.agent import Agent, learning_rate_at
from weft_plugins.sizers.dqn.config import SHARES, DqnConfig
from weft_plugins.torch_runtime import one_thread

SHORT = DqnConfig(
    steps=1200, epsilon_steps=600, batch=64, learning_rate=3e-3, hidden=(32,), soft_update=0.01
)
FULL_KELLY = {"kelly_share": 1.0, "drawdown_penalty": 0.0}
LONG = DqnConfig(steps=4000, epsilon_steps=2000)


def bets(chance: float, seed: int, count: int = 20_000) -> np.ndarray:
    """Return the gains and losses of even bets."""
    return np.where(np.random.default_rng(seed).random(count) < chance, 1.0, -1.0)


def martingale_with_costs(seed: int, cost: float = 0.001) -> np.ndarray:
    """Return moves of 2 % with no drift, less costs."""
    return np.random.default_rng(seed).normal(0.0, 0.02, 20_000) - cost


def test_policy_holds_nothing_where_trades_only_cost() -> None:
    trades = trades_of(martingale_with_costs(1, 0.003), size=0.2, vol=0.02)
    holding = shares_after_training(trades, SHORT, seed=1)
    assert (holding == 0.0).mean() > 0.9


def test_policy_holds_a_bet_at_its_kelly_fraction() -> None:
    config = SHORT.model_copy(update=FULL_KELLY)
    holding = shares_after_training(trades_of(bets(0.75, 2)), config, seed=2)
    # 2 * 0.75 - 1
    assert holding.mean() == pytest.approx(0.5, abs=0.1)


def test_policy_holds_only_states_with_an_edge() -> None:
    rng = np.random.default_rng(3)
    state = rng.uniform(0.0, 1.0, (20_000, 7))
    hot = state[:, 2] > 0.5
    net = np.where(rng.random(20_000) < np.where(hot, 0.9, 0.35), 1.0, -1.0)
    config = SHORT.model_copy(update=FULL_KELLY)
    holding = shares_after_training(trades_of(net, state), config, seed=3)
    assert holding[hot[:1000]].mean() > 0.5
    assert holding[~hot[:1000]].mean() < 0.1


def test_learning_from_chosen_actions_gives_the_same_bet() -> None:
    config = SHORT.model_copy(update={**FULL_KELLY, "every_action": False, "steps": 2000})
    holding = shares_after_training(trades_of(bets(0.9, 4)), config, seed=4)
    assert holding.mean() == pytest.approx(0.8, abs=0.2)


def test_ruinous_step_is_stored_with_its_action_only() -> None:
    agent = Agent(SHORT, np.random.default_rng(1), HORIZON)
    seen, every = np.zeros(7, np.float32), np.arange(5.0)
    agent.remember(seen, 2, 2.0, seen, every, terminated=False)
    assert agent.replay.newest(9)["actions"].tolist() == [0, 1, 2, 3, 4]
    assert agent.replay.newest(9)["rewards"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    agent.remember(seen, 2, 2.0, seen, every, terminated=True)
    newest = agent.replay.newest(1)
    assert (newest["actions"][0], newest["terminated"][0]) == (2, 1.0)
    assert len(agent.replay) == 6


def test_progress_is_reported_and_exploration_falls() -> None:
    reports: list[tuple[float, float, dict[str, float]]] = []

    def progress(done: float, total: float, **figures: float) -> None:
        reports.append((done, total, figures))

    config = SHORT.model_copy(update={"steps": 600, "report_steps": 100})
    agent = Agent(config, np.random.default_rng(1), HORIZON)
    agent.train(trades_of(bets(0.6, 1)), Training(np.random.default_rng(0), HORIZON, progress))
    assert [done for done, _, _ in reports] == sorted(done for done, _, _ in reports)
    assert reports[-1][0] <= reports[-1][1] == 600
    epsilons = [figures["epsilon"] for _, _, figures in reports]
    assert epsilons == sorted(epsilons, reverse=True)
    assert {"reward", "loss", "epsilon"} <= set(reports[-1][2])


def test_diverging_agent_is_refused() -> None:
    net = bets(0.6, 1, 200) * 1e300
    config = SHORT.model_copy(update={"learning_starts": 10})
    agent = Agent(config, np.random.default_rng(1), HORIZON)
    with np.errstate(all="ignore"), pytest.raises(TrainingError, match="loss became"):
        agent.train(trades_of(net), Training(np.random.default_rng(0), HORIZON))


def test_learning_rate_falls_linearly_then_stays() -> None:
    config = DqnConfig(steps=100, learning_rate=1e-3, final_learning_rate=1e-4)
    reports = [learning_rate_at(step, config) for step in (0, 50, 100, 1000)]
    assert reports == pytest.approx([1e-3, 5.5e-4, 1e-4, 1e-4])


def test_seed_determines_the_weights() -> None:
    def weights(seed: int) -> bytes:
        with one_thread():
            agent = Agent(
                SHORT.model_copy(update={"steps": 300}), np.random.default_rng(seed), HORIZON
            )
            agent.train(trades_of(bets(0.6, 1)), Training(np.random.default_rng(0), HORIZON))
        return b"".join(array.tobytes() for array in agent.network.policy().values())

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


# Ten seeds each


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the mean of the middle half (Agarwal et al. 2021)."""
    middle: np.ndarray = trim_mean(values, 0.25, axis=axis)
    return middle


def over_ten_seeds(holding: list[float]) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of the interquartile mean over seeds."""
    data = np.array(holding)
    if np.ptp(data) == 0.0:
        return float(data[0]), float(data[0])
    result = bootstrap(
        (data,), interquartile_mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(result.low), float(result.high)


@pytest.mark.slow
def test_policy_holds_nothing_without_edge_for_ten_seeds() -> None:
    holding = [
        shares_after_training(
            trades_of(martingale_with_costs(seed), size=0.2, vol=0.02), LONG, seed
        ).mean()
        for seed in range(10)
    ]
    low, high = over_ten_seeds(holding)
    assert low <= high < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edge", "kelly"), [("even bets won with 0.6", 0.2), ("normal returns of 0.5 Sharpe", 0.4)]
)
def test_policy_holds_known_edges_for_ten_seeds(edge: str, kelly: float) -> None:
    config = LONG.model_copy(update=FULL_KELLY)

    def returns(seed: int) -> np.ndarray:
        if edge.startswith("even"):
            return bets(0.6, seed)
        # mean / E[r ** 2] = 0.5 / 1.25
        return np.random.default_rng(seed).normal(0.5, 1.0, 20_000)

    nearest = min(SHARES, key=lambda share: abs(share - kelly))
    holding = [
        shares_after_training(trades_of(returns(seed)), config, seed).mean() for seed in range(10)
    ]
    low, high = over_ten_seeds(holding)
    assert nearest - 0.08 < low <= high < nearest + 0.08

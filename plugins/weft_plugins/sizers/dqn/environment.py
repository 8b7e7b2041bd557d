"""Gymnasium environment of closed trades, one trade after the other."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from weft_plugins.sizers.dqn.config import SHARES, DqnConfig
from weft_plugins.sizers.dqn.reward import Account, rewards_of
from weft_plugins.sizers.dqn.state import HIGHEST, LOWEST
from weft_plugins.sizers.dqn.trades import Rows, Trades

Observation = NDArray[np.float32]


class TradeEnvironment(gymnasium.Env[Observation, np.int64]):
    """Environment in which a step sizes one signal and holds the trade to its end.

    An episode starts at a random trade. The next decision is the first signal of the same symbol
    at or after the close of the previous trade. An episode is truncated after `episode_trades`
    trades and at the last signal of history; it terminates where the account is ruined.

    Observations are states as known at the signal's row; the reward is that of the closed trade.
    Actions do not move prices, so `info["rewards"]` holds the reward of every action.

    Args:
        trades: closed trades.
        config: reward, and length of an episode.
        followers: trade after each trade, -1 for none; None for the next trade of its symbol.

    Raises:
        ValueError: no trade is followed by another.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # gymnasium defines the attribute

    def __init__(self, trades: Trades, config: DqnConfig, followers: Rows | None = None) -> None:
        self.observation_space = spaces.Box(
            LOWEST.astype(np.float32), HIGHEST.astype(np.float32), dtype=np.float32
        )
        self.action_space = spaces.Discrete(len(SHARES))
        self._states = trades.state.astype(np.float32)
        self._rewards = rewards_of(trades, config)
        self._followers = trades.followers() if followers is None else followers
        self._starts = np.flatnonzero(self._followers >= 0)
        if not len(self._starts):
            raise ValueError("no trade is followed by another")
        self._longest = config.episode_trades
        self._trade = 0
        self._walked = 0
        self.account = Account()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: seed of the random first trade.
            options: ``start``, the first trade; ``account``, an `Account` to continue with.
        """
        super().reset(seed=seed)
        chosen = options or {}
        drawn = self._starts[self.np_random.integers(len(self._starts))]
        self._trade = int(chosen.get("start", drawn))
        self._walked = 0
        self.account = chosen.get("account", Account())
        return self._states[self._trade].copy(), {"trade": self._trade}

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold a share of the full size until the trade is closed."""
        rewards = self._rewards.of(self._trade, self.account)
        change = float(self._rewards.returns[self._trade, action])
        self.account = self.account.after(change)
        info = {
            "trade": self._trade,
            "return": change,
            "equity": self.account.equity,
            "drawdown": self.account.drawdown,
            "rewards": rewards,
        }
        self._trade = int(self._followers[self._trade])
        self._walked += 1
        truncated = self._walked >= self._longest or int(self._followers[self._trade]) < 0
        state = self._states[self._trade].copy()
        return state, float(rewards[action]), self.account.is_ruined, truncated, info

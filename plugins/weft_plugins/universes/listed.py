"""The simplest universe: the symbols named, or everything there is."""

import numpy as np
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.universe import Universe
from weft.foundation.arrays import BoolPanel
from weft.market.view import View


class Listed(Universe):
    """Chooses the symbols that config names, at every instant alike.

    Over history a list of today's names is survivorship bias: the coins that died since are
    missing from it. Left empty, it takes every instrument that had a candle by then, the dead
    ones included.
    """

    name = "listed"

    class Config(ComponentConfig):
        """Options."""

        symbols: tuple[str, ...] = Field(
            (), description="symbols to compose; empty for every one the providers bring"
        )

    config: Config

    def named(self) -> tuple[str, ...]:
        """Return the symbols that config names."""
        return self.config.symbols

    def members(self, view: View) -> BoolPanel:
        """Return the same choice for every decision row."""
        if not self.config.symbols:
            return np.ones((view.steps, len(view.symbols)), dtype=np.bool_)
        chosen = np.isin(np.array(view.symbols), np.array(self.config.symbols))
        return np.repeat(chosen[None, :], view.steps, axis=0)

"""Groups of symbols and their specialists."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from tests.plugins.models.boosted_trees.cases import fitted, market, walk
from weft.domain.instruments import Instrument, Kind, describe
from weft.testing import History, random_history
from weft_plugins.models.boosted_trees.groups import NAMED, Group, group_of, members
from weft_plugins.models.boosted_trees.model import XGBoost

GROUPS: tuple[Group, ...] = get_args(Group)


@pytest.mark.parametrize(
    ("symbol", "group"),
    [
        ("BTCUSDT", "majors"),
        ("ETH-USD", "majors"),
        ("BNBUSDC", "majors"),
        ("SOLUSDT", "alts"),
        ("MATICUSDT", "alts"),
        ("POLUSDT", "alts"),
        ("OPUSDT", "alts"),
        ("1000PEPEUSDT", "memes"),
        ("1000SHIBUSDT", "memes"),
        ("1000000BONKUSDT", "memes"),
        ("DOGE/USDT", "memes"),
        ("WIFUSDT", "memes"),
        ("AAPL", "stocks"),
        ("ZECUSDT", None),
        ("SOLVUSDT", None),
    ],
)
def test_group_follows_the_base_asset(symbol: str, group: Group | None) -> None:
    assert group_of(describe(symbol), NAMED) == group


def test_group_follows_an_earlier_name() -> None:
    renamed = Instrument(symbol="XUSDT", base="X", quote="USDT", renamed_from=("DOGEUSDT",))
    assert group_of(renamed, NAMED) == "memes"


def test_options_can_name_other_assets() -> None:
    named: dict[Group, tuple[str, ...]] = {"majors": ("SOL",), "memes": ("AAPL",)}
    assert group_of(describe("SOLUSDT"), named) == "majors"
    assert group_of(describe("AAPL"), named) == "memes"
    assert group_of(describe("BTCUSDT"), named) is None
    with pytest.raises(ValidationError, match="SOL: an asset belongs to one group only"):
        XGBoost.Config(named={"majors": ("SOL",), "alts": ("SOL", "DOT")})


def unnamed() -> History:
    """Return a calm, a volatile and a changing coin, a volatile Bitcoin and a stock."""
    a_day = 0.01 * np.array([0.5, 3.0, 0.5, 3.0, 3.0])
    rng = np.random.default_rng(3)
    shocks = rng.normal(0.0, 1.0, (900, 5)) * a_day
    shocks[700:, 2] *= 6.0
    symbols = ("CALMUSDT", "WILDUSDT", "TURNUSDT", "BTCUSDT", "STOCK")
    return market(100.0 * np.exp(np.cumsum(shocks, axis=0)), symbols=symbols)


def membership(history: History, steps: int) -> dict[Group, Any]:
    view = history.view(XGBoost(XGBoost.Config(group="alts")).needs, steps=steps)
    return {group: members(view, group, NAMED, 1.2) for group in GROUPS}


def test_symbol_belongs_to_one_group_at_each_row() -> None:
    for history in (unnamed(), random_history(3, rows=900)):
        total = sum(panel.astype(int) for panel in membership(history, 800).values())
        assert (total == 1).all()


def test_unnamed_coin_is_grouped_by_volatility() -> None:
    result = membership(unnamed(), 700)
    np.testing.assert_array_equal(result["memes"][-1], [False, True, True, False, False])
    np.testing.assert_array_equal(result["alts"][-1], [True, False, False, False, False])
    np.testing.assert_array_equal(result["majors"][-1], [False, False, False, True, False])
    np.testing.assert_array_equal(result["stocks"][-1], [False, False, False, False, True])
    turned = result["memes"][:, 2]
    # The coin becomes volatile at row 700, row 500 of the view; the rule reacts within a day.
    assert not turned[:500].any()
    assert turned[524:].all()


def test_new_coin_belongs_to_the_alts() -> None:
    result = membership(unnamed(), 900)
    assert result["alts"][:168, 1].all()
    assert result["memes"][168 + 1 :, 1].all()


def test_membership_of_single_rows_equals_that_of_many() -> None:
    history = unnamed()
    full = membership(history, 60)
    for back in (0, 1, 30, 59):
        single = membership(history.cut(history.rows - back), 1)
        for group in GROUPS:
            np.testing.assert_array_equal(single[group][0], full[group][59 - back])


def test_three_specialists_forecast_each_symbol_once() -> None:
    named: dict[Group, tuple[str, ...]] = {
        "majors": ("BTC",),
        "alts": ("CALM",),
        "memes": ("WILD",),
    }
    history = market(
        walk(1400, 5, seed=1, sigma=0.013),
        symbols=("BTCUSDT", "CALMUSDT", "WILDUSDT", "XUSDT", "YUSDT"),
    )
    spoken = np.zeros((60, 5))
    for group in named:
        item = XGBoost(
            XGBoost.Config(
                group=group,
                named=named,
                features=("base",),
                trees=2,
                depth=2,
                hold_out=False,
                threads=1,
            )
        )
        trained_artifact = fitted(item, history.view(item.needs, steps=1200))
        output = item.predict(
            history.view(item.needs, steps=60, learned=item.load(trained_artifact))
        )
        spoken += ~np.isnan(output.probability_up)
    assert (spoken == 1).all()


def test_index_belongs_to_the_stocks() -> None:
    index = replace(describe("SPX"), kind=Kind.INDEX)
    assert group_of(index, NAMED) == "stocks"

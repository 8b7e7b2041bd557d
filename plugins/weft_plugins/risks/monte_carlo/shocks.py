"""Past falls of the crypto market: how far Bitcoin and the typical other coin fell."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shock:
    """A fall of the market, from the highest to the lowest hourly close within some days.

    Measured on Binance's hourly spot candles, for every symbol with a candle in 95 % of the hours.

    Attributes:
        name: in the names of figures.
        what: the event.
        first_day: first day of the window, UTC.
        last_day: last day of the window, included.
        bitcoin: return of BTCUSDT.
        others: median return of the other coins, stablecoins left out.
        counted: number of other coins.
    """

    name: str
    what: str
    first_day: str
    last_day: str
    bitcoin: float
    others: float
    counted: int


SHOCKS = (
    Shock("covid_2020_03", "the pandemic", "2020-03-12", "2020-03-13", -0.478, -0.488, 11),
    Shock("china_2021_05", "China's ban", "2021-05-18", "2021-05-19", -0.223, -0.449, 63),
    Shock("luna_2022_05", "Terra's collapse", "2022-05-05", "2022-05-12", -0.318, -0.563, 71),
    Shock("ftx_2022_11", "FTX's collapse", "2022-11-06", "2022-11-10", -0.261, -0.383, 72),
    Shock("usdc_2023_03", "USDC off its peg", "2023-03-09", "2023-03-11", -0.099, -0.136, 70),
    Shock("carry_2024_08", "the yen's rise", "2024-08-04", "2024-08-05", -0.184, -0.248, 49),
)

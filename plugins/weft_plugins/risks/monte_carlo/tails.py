"""Value at risk and expected shortfall of a sample of losses."""

import numpy as np

from weft.foundation.arrays import Floats
from weft.foundation.errors import ComponentError

_WHERE = "risk monte_carlo"


def value_at_risk(losses: Floats, level: float) -> float:
    """Return the smallest loss that at most a share 1 - `level` of the losses exceeds.

    This is the lower quantile without interpolation, so that it is one of the losses.

    Raises:
        ComponentError: a level outside 0 to 1, or losses that are empty or not finite.
    """
    _expect_losses(losses, level)
    at = quantile_index(len(losses), level)
    return float(np.partition(losses, at)[at])


def expected_shortfall(losses: Floats, level: float) -> float:
    """Return the mean loss of the worst share 1 - `level` of cases.

    Where that share is not an integer number of cases, the loss at its edge counts with its
    fraction (Acerbi and Tasche 2002, On the coherence of expected shortfall, proposition 4.1);
    without the fraction the figure would not be coherent.

    Raises:
        ComponentError: a level outside 0 to 1, or losses that are empty or not finite.
    """
    _expect_losses(losses, level)
    at = quantile_index(len(losses), level)
    # In double precision: a sum of singles would be less exact than the fraction.
    worst = np.partition(losses, at)[at:].astype(np.float64)
    share = (1.0 - level) * len(losses)
    beyond = len(losses) - 1 - at
    return float((worst[1:].sum() + (share - beyond) * worst[0]) / share)


def quantile_index(count: int, level: float) -> int:
    """Return the index of a level's quantile among `count` values in ascending order."""
    # Slightly below the product, which rounding may have lifted above an integer.
    return min(max(int(np.ceil(count * level * (1.0 - 1e-12))) - 1, 0), count - 1)


def _expect_losses(losses: Floats, level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ComponentError(f"level is {level}, expected more than 0, less than 1", where=_WHERE)
    if losses.ndim != 1 or not len(losses) or not np.isfinite(losses).all():
        raise ComponentError(
            f"losses of {losses.shape} are empty or not finite, expected one number each",
            where=_WHERE,
        )

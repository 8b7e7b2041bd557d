"""What the tail of a distribution of losses holds."""

import numpy as np

from weft.foundation.arrays import Floats
from weft.foundation.errors import ComponentError

_WHERE = "risk monte_carlo"


def value_at_risk(losses: Floats, level: float) -> float:
    """Return the smallest loss that is exceeded in at most a share 1 - `level` of cases.

    The lower quantile of the losses as they are, without interpolation, so that it is a loss that
    occurred.

    Raises:
        ComponentError: a level outside 0 to 1, or losses that are empty or not finite.
    """
    _expect_losses(losses, level)
    at = quantile_index(len(losses), level)
    return float(np.partition(losses, at)[at])


def expected_shortfall(losses: Floats, level: float) -> float:
    """Return the mean loss of the worst share 1 - `level` of cases.

    Where that share is no whole number of cases, the loss at its edge counts with the fraction
    that belongs to it (Acerbi and Tasche 2002, On the coherence of expected shortfall,
    proposition 4.1); without it the figure is not coherent.

    Raises:
        ComponentError: a level outside 0 to 1, or losses that are empty or not finite.
    """
    _expect_losses(losses, level)
    at = quantile_index(len(losses), level)
    # In double precision: a sum of singles would lose what the fraction is for.
    worst = np.partition(losses, at)[at:].astype(np.float64)
    share = (1.0 - level) * len(losses)
    beyond = len(losses) - 1 - at
    return float((worst[1:].sum() + (share - beyond) * worst[0]) / share)


def quantile_index(count: int, level: float) -> int:
    """Return where the quantile of a level is among so many values in ascending order."""
    # A hair below the product, which rounding may have lifted over a whole number.
    return min(max(int(np.ceil(count * level * (1.0 - 1e-12))) - 1, 0), count - 1)


def _expect_losses(losses: Floats, level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ComponentError(f"level is {level}, expected more than 0, less than 1", where=_WHERE)
    if losses.ndim != 1 or not len(losses) or not np.isfinite(losses).all():
        raise ComponentError(
            f"losses of {losses.shape} are empty or not finite, expected one number each",
            where=_WHERE,
        )

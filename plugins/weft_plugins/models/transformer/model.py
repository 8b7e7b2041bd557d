"""A transformer over windows of candles, with dropout passes that measure its uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from weft.components.model import Forecast, Model
from weft.components.needs import Need, candles
from weft.components.outcomes import direction_losses
from weft.components.trained import Artifact, Evaluation, Training
from weft.foundation.arrays import FloatPanel
from weft.foundation.dependencies import require
from weft.market.view import View
from weft_plugins.models.transformer.options import Options
from weft_plugins.models.transformer.samples import choose_samples
from weft_plugins.models.transformer.windows import Windows

if TYPE_CHECKING:
    from weft_plugins.models.transformer.forecast import Forecaster

_WHERE = "model transformer"
_JUDGED = 4


class Transformer(Model):
    """Forecasts the path of the next candles from a window of candles of the same symbol.

    An LSTM embeds the candles, encoder layers relate them (Vaswani et al. 2017, arXiv 1706.03762;
    normalised first as in Xiong et al. 2020, arXiv 2002.04745), and a head gives location and scale
    of the log return to each of the next `Training.horizon` closes. Inputs and outputs are in units
    of the window's volatility, so one network serves all symbols and price levels.

    A forecast is the mixture of `passes` dropout passes (Gal and Ghahramani 2016, arXiv
    1506.02142). Its evidence splits the standard deviation of the log return into `epistemic`, the
    disagreement of the passes, and `aleatoric`, the noise of each pass. The dropout masks are part
    of the artifact, so a forecast is a fixed function of its window.

    Dropout acts in the last layer and before the head only. Everything below is computed once for
    all passes, which makes passes cheap. The price: passes do not measure the uncertainty of the
    lower layers, so `epistemic` is a lower bound. It still grows away from the training data,
    because the residual stream reaches the masks without normalisation.

    The card's `validation_coverage` holds the coverage of the intervals on the latest training
    rows. `contributions` explains a forecast.

    A forecast is NaN where a candle of the window, or the close before it, is missing: one missing
    candle removes `window` forecasts. Rows on which a market is closed are skipped: a window of a
    stock holds its latest `window` candles, and its outcome is measured at the last close known at
    each row ahead. A forecast is also NaN where no close changed within the window.
    """

    name = "transformer"
    seconds_per_row = 0.5

    class Config(Options):
        """Options: the network, its training, and its use of the machine."""

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """A window of candles, and the close before it."""
        return [candles(warmup=self.config.window, traded=True)]

    def fit(self, view: View, training: Training) -> Artifact:
        """Train on the windows that end at a decision row and have a known outcome.

        The latest `validation_share` of the rows decides when to stop; no outcome of an earlier row
        reaches into it. The artifact holds the weights of the epoch with the smallest validation
        loss. Its card holds the share of validation outcomes inside the 50 % and 90 % intervals;
        these shares are slightly optimistic, because the same rows chose the epoch.

        Raises:
            TrainingError: there are too few rows, or the training diverged.
            MissingDependencyError: torch or safetensors is not installed.
        """
        _require_torch()
        from weft_plugins.models.transformer import artifact as _artifact  # noqa: PLC0415  # torch
        from weft_plugins.models.transformer import forecast as _forecast  # noqa: PLC0415  # torch
        from weft_plugins.models.transformer.training import train_network  # noqa: PLC0415  # torch

        windows = Windows.of(view.candles(), self.config.window)
        samples = choose_samples(windows, view.universe, training.horizon, self.config, _WHERE)
        build = _artifact.architecture(self.config, training.horizon)
        fitted = train_network(samples, build, self.config, training, _WHERE)
        forecaster = _forecast.Forecaster.of(
            build, fitted.network, fitted.masks, self.config, _WHERE
        )
        covered = _forecast.coverage(forecaster, samples)
        return _artifact.write_artifact(fitted, build, self.config, samples, covered)

    def load(self, artifact: Artifact) -> "Forecaster":
        """Return the network of an artifact, ready for forecasts.

        Raises:
            ArtifactError: the artifact is damaged, or of another version, other inputs or options.
            MissingDependencyError: torch or safetensors is not installed.
        """
        _require_torch()
        from weft_plugins.models.transformer.artifact import load_artifact  # noqa: PLC0415  # torch
        from weft_plugins.models.transformer.forecast import Forecaster  # noqa: PLC0415  # torch

        build, network, masks, means = load_artifact(artifact, self.config, _WHERE)
        return Forecaster.of(build, network, masks, self.config, _WHERE, means)

    def predict(self, view: View) -> Forecast:
        """Return the mixture of all passes for each decision row and symbol."""
        windows = Windows.of(view.candles(), self.config.window)
        return self._forecast(view, view.learned, windows)

    def evaluate(self, view: View, training: Training) -> Evaluation:
        """Return the log loss of the probability of a rise, and that of a probability of one half.

        Four rows of each horizon are judged; the loss is NaN on the others. Outcomes of the rows
        between them overlap almost entirely, and would take three times as long.
        """
        windows = Windows.of(view.candles(), self.config.window)
        place = view.times // view.interval.micros % max(1, training.horizon // _JUDGED)
        judged = np.concatenate([np.zeros(len(windows.complete) - view.steps), place == 0]) > 0.0
        windows = replace(windows, complete=windows.complete & judged[:, None])
        forecast = self._forecast(view, view.learned.for_judging(), windows)
        return direction_losses(view, forecast, training.horizon)

    def _forecast(self, view: View, forecaster: "Forecaster", windows: Windows) -> Forecast:
        from weft_plugins.models.transformer.forecast import COLUMNS, LEVELS  # noqa: PLC0415  # torch

        panel = forecaster.panel(windows, len(windows.complete) - view.steps)
        by_name = {name: panel[..., number] for number, name in enumerate(COLUMNS)}
        return Forecast(
            mean=by_name["mean"],
            probability_up=by_name["probability_up"],
            quantiles={level: by_name[level] for level in LEVELS},
            evidence={name: by_name[name] for name in ("epistemic", "aleatoric")},
        )

    def contributions(self, view: View) -> Mapping[str, FloatPanel]:
        """Return what each input of the window adds to the log-odds of a rise (steps, symbol).

        Exact Shapley values (Lundberg and Lee 2017, arXiv 1705.07874) of the inputs, each in all
        candles of the window at once, relative to its mean over the training windows.
        ``baseline`` is the output with all inputs at their means; all columns together are the
        log-odds of `Forecast.probability_up`, to about 1e-5. NaN outside the universe, and where
        there is no forecast. Each row and symbol takes 32 forecasts, so use few rows.
        """
        from weft_plugins.models.transformer.attribution import COLUMNS, attribute  # noqa: PLC0415  # torch

        windows = Windows.of(view.candles(), self.config.window)
        added = attribute(view.learned, windows, view.universe)
        return {name: added[..., number] for number, name in enumerate(COLUMNS)}


def _require_torch() -> None:
    require("torch", "safetensors", extra="ml", where=_WHERE)

"""A transformer over windows of candles, with dropout passes that say how sure it is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from types import ModuleType
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
    """Forecasts the path of the next candles from a window of candles of the symbol itself.

    An LSTM embeds the candles, encoder layers (Vaswani et al. 2017, normalised first) relate them,
    and a head gives location and scale of the log return to each of the next `Training.horizon`
    closes. Everything that goes in or comes out is in units of the window's own volatility, so
    one network serves all symbols and price levels.

    A forecast is the mixture of `passes` dropout passes (Gal and Ghahramani 2016). Its evidence
    splits the standard deviation of the log return into `epistemic`, how far the passes disagree,
    and `aleatoric`, the noise that they agree on. The masks are part of the artifact, so a
    forecast is a fixed function of its window.

    Dropout is in the last layer and before the head alone. All else is computed once for all
    passes, which makes them cheap; the price is that the passes know nothing of how uncertain
    the lower layers are, so their spread is a lower bound. It still grows away from the training
    data, because what the layers add to is never squeezed before the masks meet it.

    How well its intervals did on the latest rows of its training stands in the artifact's card, as
    `validation_coverage`; what moved a forecast is told by `contributions`.

    There is no forecast (NaN) where one of the window's candles, or the close before it, is
    missing: a hole of one candle silences a symbol for `window` rows. Rows on which a market is
    closed are passed over: a window of a stock holds its latest `window` candles, and what it is
    held against is the last close known at each of the rows ahead. Neither is there a forecast
    where the close did not change within the window.
    """

    name = "transformer"
    seconds_per_row = 0.5

    class Config(Options):
        """Options: the network, its training, and what it may use of the machine."""

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """A window of candles, and the close before it."""
        return [candles(warmup=self.config.window, traded=True)]

    def fit(self, view: View, training: Training) -> Artifact:
        """Train on the windows that end at a decision row, and whose outcome is known.

        The latest `validation_share` of the rows is kept to stop by; no outcome of a row before
        it reaches into it. The artifact holds the weights of the epoch that did best there; its
        card tells how many outcomes of those rows fell inside the 50 % and the 90 % interval,
        which is a little flattered, because they chose the epoch.

        Raises:
            TrainingError: too few rows, or the training diverged.
            MissingDependencyError: torch is not installed.
        """
        trains = _module("training")
        artifacts = _module("artifact")
        windows = Windows.of(view.candles(), self.config.window)
        samples = choose_samples(windows, view.universe, training.horizon, self.config, _WHERE)
        build = artifacts.architecture(self.config, training.horizon)
        fitted = trains.train_network(samples, build, self.config, training, _WHERE)
        forecasts = _module("forecast")
        forecaster = forecasts.Forecaster.of(
            build, fitted.network, fitted.masks, self.config, _WHERE
        )
        covered = forecasts.coverage(forecaster, samples)
        artifact: Artifact = artifacts.write_artifact(fitted, build, self.config, samples, covered)
        return artifact

    def load(self, artifact: Artifact) -> object:
        """Return the network of an artifact, ready for forecasts.

        Raises:
            ArtifactError: it is of another version, for other inputs or options, or damaged.
            MissingDependencyError: torch is not installed.
        """
        build, network, masks, neutral = _module("artifact").read_artifact(
            artifact, self.config, _WHERE
        )
        forecasts = _module("forecast")
        ready: object = forecasts.Forecaster.of(build, network, masks, self.config, _WHERE, neutral)
        return ready

    def predict(self, view: View) -> Forecast:
        """Return the mixture of all passes for each decision row and symbol."""
        windows = Windows.of(view.candles(), self.config.window)
        return self._said(view, view.learned, windows)

    def evaluate(self, view: View, training: Training) -> Evaluation:
        """Return the log loss of the chance of a rise, and that of saying one half.

        NaN on most rows: four of a horizon are judged, whose outcomes share most of what those of
        the rows between them tell, at a third of the time.
        """
        windows = Windows.of(view.candles(), self.config.window)
        place = view.times // view.interval.micros % max(1, training.horizon // _JUDGED)
        judged = np.concatenate([np.zeros(len(windows.complete) - view.steps), place == 0]) > 0.0
        windows = replace(windows, complete=windows.complete & judged[:, None])
        forecast = self._said(view, view.learned.for_judging(), windows)
        return direction_losses(view, forecast, training.horizon)

    def _said(self, view: View, forecaster: "Forecaster", windows: Windows) -> Forecast:
        said = forecaster.panel(windows, len(windows.complete) - view.steps)
        columns = _module("forecast").COLUMNS
        by_name = {name: said[..., number] for number, name in enumerate(columns)}
        return Forecast(
            mean=by_name["mean"],
            probability_up=by_name["probability_up"],
            quantiles={level: by_name[level] for level in _module("forecast").LEVELS},
            evidence={name: by_name[name] for name in ("epistemic", "aleatoric")},
        )

    def contributions(self, view: View) -> Mapping[str, FloatPanel]:
        """Return what each input of the window adds to the log-odds of a rise (steps, symbol).

        Exact Shapley values (Lundberg and Lee 2017) of the inputs, each in all candles of the
        window at once, against the mean over the training windows. Under ``baseline`` stands
        what the network says where all inputs are at that mean; all together are the log-odds
        of `Forecast.probability_up` (to about 1e-5). NaN outside the universe, and where there
        is no forecast. It takes 32 forecasts for each, so ask for few rows.
        """
        forecaster = view.learned
        attribution = _module("attribution")
        windows = Windows.of(view.candles(), self.config.window)
        added = attribution.attribute(forecaster, windows, view.universe)
        return {name: added[..., number] for number, name in enumerate(attribution.COLUMNS)}


def _module(name: str) -> ModuleType:
    """Return one of the modules that need torch.

    Raises:
        MissingDependencyError: torch or safetensors is not installed.
    """
    require("torch", "safetensors", extra="ml", where=_WHERE)
    return import_module(f"weft_plugins.models.transformer.{name}")

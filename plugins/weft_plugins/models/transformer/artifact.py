"""The artifact: weights and masks as tensors, and a card that says what they are."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from weft.components.trained import Artifact
from weft.foundation.arrays import Floats
from weft.foundation.errors import ArtifactError
from weft_plugins.models.transformer.network import Architecture, Masks, Network, build_network
from weft_plugins.models.transformer.options import Options
from weft_plugins.models.transformer.samples import Samples
from weft_plugins.models.transformer.training import Fitted
from weft_plugins.models.transformer.windows import INPUTS

VERSION: Final = 2
_WEIGHTS = "weights.safetensors"
_LONGEST_HORIZON = 10_000
_LARGEST_MEAN = 1_000
"""No input can reach it: each is bounded, or grows like a logarithm."""


def architecture(options: Options, horizon: int) -> Architecture:
    """Return what a network for these options is built from."""
    return Architecture(
        inputs=len(INPUTS),
        window=options.window,
        horizon=horizon,
        width=options.width,
        heads=options.heads,
        layers=options.layers,
        hidden=options.feed_forward,
        passes=options.passes,
        dropout=options.dropout,
    )


def write_artifact(
    fitted: Fitted,
    build: Architecture,
    options: Options,
    samples: Samples,
    coverage: Mapping[str, float],
) -> Artifact:
    """Return a trained network as an artifact.

    Args:
        fitted: the network, and how its training went.
        build: what it is built from.
        options: of the component.
        samples: it was trained on and stopped by.
        coverage: share of the validation outcomes inside each interval, by name.
    """
    tensors = {f"weights.{name}": value for name, value in fitted.network.state_dict().items()}
    tensors |= {
        f"masks.{name}": (mask > 0).to(torch.uint8) for name, mask in fitted.masks._asdict().items()
    }
    history = fitted.history
    card = {
        "version": VERSION,
        "torch": str(torch.__version__),
        "inputs": list(INPUTS),
        "input_means": dict(zip(INPUTS, map(float, samples.neutral()), strict=True)),
        "architecture": build.numbers(),
        "noise": options.noise,
        "seed": fitted.seed,
        "training": {
            "epochs": history.epochs,
            "best_epoch": history.best + 1,
            "loss": list(history.loss),
            "validation_loss": list(history.validation),
            "windows": len(samples.train),
            "validation_windows": len(samples.validation),
            "validation_coverage": dict(coverage),
        },
    }
    return Artifact({_WEIGHTS: save(tensors)}, card)


def read_artifact(
    artifact: Artifact, options: Options, where: str
) -> tuple[Architecture, Network, Masks, Floats]:
    """Return the network and the masks of an artifact, and the mean of each input.

    Raises:
        ArtifactError: it is of another version, for other inputs or options, or damaged.
    """
    build = _checked_card(artifact.card, options, where)
    neutral = _input_means(artifact.card, where)
    try:
        tensors = load(artifact.files[_WEIGHTS])
    except KeyError as error:
        raise ArtifactError(f"has no {_WEIGHTS}", where=where, hint=_AGAIN) from error
    except SafetensorError as error:
        raise ArtifactError(f"{_WEIGHTS} is damaged: {error}", where=where, hint=_AGAIN) from error
    network = build_network(build, seed=0)
    expected = {f"weights.{name}": tuple(v.shape) for name, v in network.state_dict().items()}
    widths = Masks(build.width, build.width, build.hidden, build.width)  # type: ignore[arg-type]  # numbers under the same names
    expected |= {
        f"masks.{name}": (1, build.passes, width) for name, width in widths._asdict().items()
    }
    _expect_tensors(tensors, expected, where)
    network.load_state_dict(
        {n.removeprefix("weights."): v for n, v in tensors.items() if n.startswith("weights.")}
    )
    masks = Masks(*(tensors[f"masks.{name}"] for name in Masks._fields))
    return build, network, masks, neutral


_AGAIN = "Train it again with `weft train`"


def _checked_card(card: Mapping[str, Any], options: Options, where: str) -> Architecture:
    """Return what the network of a card is built from, where it is one of ours."""
    numbers = card.get("architecture")
    horizon = numbers.get("horizon") if isinstance(numbers, Mapping) else None
    if not isinstance(horizon, int) or not 1 <= horizon <= _LONGEST_HORIZON:
        raise ArtifactError(
            f"its card has the horizon {horizon!r}, expected 1 to {_LONGEST_HORIZON} candles",
            where=where,
            hint=_AGAIN,
        )
    build = architecture(options, horizon)
    for name, wanted in (
        ("version", VERSION),
        ("inputs", list(INPUTS)),
        ("architecture", build.numbers()),
        ("noise", options.noise),
    ):
        came = card.get(name)
        if came != wanted:
            raise ArtifactError(
                f"was made with {name} {came!r}, expected {wanted!r}", where=where, hint=_AGAIN
            )
    return build


def _input_means(card: Mapping[str, Any], where: str) -> Floats:
    """Return the mean of each input over the training windows (inputs,)."""
    came = card.get("input_means")
    numbers = [came.get(name) for name in INPUTS] if isinstance(came, Mapping) else []
    known = [one for one in numbers if isinstance(one, int | float) and abs(one) < _LARGEST_MEAN]
    if len(known) != len(INPUTS):
        raise ArtifactError(
            f"its card has the input_means {came!r}, expected a number for each of "
            f"{', '.join(INPUTS)}",
            where=where,
            hint=_AGAIN,
        )
    return np.array(known, dtype=np.float64)


def _expect_tensors(
    tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], where: str
) -> None:
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted({*shapes, *expected}):
        came, wanted = shapes.get(name), expected.get(name)
        if came != wanted:
            raise ArtifactError(
                f"its tensor {name} has the shape {came}, expected {wanted}",
                where=where,
                hint=_AGAIN,
            )
        kind = torch.uint8 if name.startswith("masks.") else torch.float32
        if tensors[name].dtype != kind or not bool(torch.isfinite(tensors[name]).all()):
            raise ArtifactError(
                f"its tensor {name} is no {kind} throughout, or not finite",
                where=where,
                hint=_AGAIN,
            )

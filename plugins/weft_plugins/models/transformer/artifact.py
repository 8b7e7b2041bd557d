"""Artifact of the transformer: weights and masks as tensors, and a card that describes them."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from weft.components.trained import Artifact
from weft.foundation.arrays import Floats
from weft.foundation.errors import ArtifactError
from weft_plugins.checkpoints import pack_tensors, sealed, sealed_file, unpack_tensors
from weft_plugins.models.transformer.network import Architecture, Masks, Network, build_network
from weft_plugins.models.transformer.options import Options
from weft_plugins.models.transformer.samples import Samples
from weft_plugins.models.transformer.training import Fitted
from weft_plugins.models.transformer.windows import INPUTS
from weft_plugins.torch_runtime import to_arrays, to_tensors

VERSION: Final = 3
_WEIGHTS = "weights.safetensors"
_HINT = "Train it again with `weft train`"
_LONGEST_HORIZON = 10_000
_LARGEST_MEAN = 1_000
"""Bound on the mean of an input: inputs are bounded, or grow like a logarithm."""


def architecture(options: Options, horizon: int) -> Architecture:
    """Return the architecture of a network with these options."""
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
        fitted: trained network and its losses.
        build: architecture of the network.
        options: options of the component.
        samples: training and validation windows.
        coverage: share of the validation outcomes inside each interval, by name.
    """
    masks = {name: (mask > 0).to(torch.uint8) for name, mask in fitted.masks._asdict().items()}
    arrays = to_arrays(fitted.network.state_dict(), "weights.") | to_arrays(masks, "masks.")
    history = fitted.history
    card = {
        "version": VERSION,
        "torch": str(torch.__version__),
        "inputs": list(INPUTS),
        "input_means": dict(zip(INPUTS, map(float, samples.input_means()), strict=True)),
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
    return sealed({_WEIGHTS: pack_tensors(arrays)}, card)


def load_artifact(
    artifact: Artifact, options: Options, where: str
) -> tuple[Architecture, Network, Masks, Floats]:
    """Return architecture, network, masks and input means of an artifact.

    Raises:
        ArtifactError: the artifact is damaged, or of another version, other inputs or options.
    """
    build = _checked_card(artifact.card, options, where)
    neutral = _input_means(artifact.card, where)
    content = sealed_file(artifact, _WEIGHTS, where)
    tensors = to_tensors(unpack_tensors(content, _WEIGHTS, where))
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


def _checked_card(card: Mapping[str, Any], options: Options, where: str) -> Architecture:
    """Return the architecture on a card, checked against version, inputs and options."""
    numbers = card.get("architecture")
    horizon = numbers.get("horizon") if isinstance(numbers, Mapping) else None
    if not isinstance(horizon, int) or not 1 <= horizon <= _LONGEST_HORIZON:
        raise ArtifactError(
            f"its card has horizon {horizon!r}, expected 1 to {_LONGEST_HORIZON} candles",
            where=where,
            hint=_HINT,
        )
    build = architecture(options, horizon)
    for name, expected in (
        ("version", VERSION),
        ("inputs", list(INPUTS)),
        ("architecture", build.numbers()),
        ("noise", options.noise),
    ):
        value = card.get(name)
        if value != expected:
            raise ArtifactError(
                f"was trained with {name} {value!r}, expected {expected!r}",
                where=where,
                hint=_HINT,
            )
    return build


def _input_means(card: Mapping[str, Any], where: str) -> Floats:
    """Return the mean of each input over the training windows (inputs,)."""
    means = card.get("input_means")
    numbers = [means.get(name) for name in INPUTS] if isinstance(means, Mapping) else []
    valid = [
        mean for mean in numbers if isinstance(mean, int | float) and abs(mean) < _LARGEST_MEAN
    ]
    if len(valid) != len(INPUTS):
        raise ArtifactError(
            f"its card has input_means {means!r}, expected a number for each of "
            f"{', '.join(INPUTS)}",
            where=where,
            hint=_HINT,
        )
    return np.array(valid, dtype=np.float64)


def _expect_tensors(
    tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], where: str
) -> None:
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted({*shapes, *expected}):
        if shapes.get(name) != expected.get(name):
            raise ArtifactError(
                f"its tensor {name} has shape {shapes.get(name)}, expected {expected.get(name)}",
                where=where,
                hint=_HINT,
            )
        kind = torch.uint8 if name.startswith("masks.") else torch.float32
        if tensors[name].dtype != kind or not bool(torch.isfinite(tensors[name]).all()):
            raise ArtifactError(
                f"its tensor {name} is not {kind}, or not finite",
                where=where,
                hint=_HINT,
            )

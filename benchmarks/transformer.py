"""The 50 dropout passes of the transformer, against 50 passes of the layers of torch."""

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from weft.foundation.arrays import FloatPanel
from weft_plugins.models.transformer.artifact import architecture
from weft_plugins.models.transformer.forecast import Forecaster
from weft_plugins.models.transformer.network import (
    Architecture,
    EncoderLayer,
    Masks,
    Network,
    Outputs,
    build_network,
    draw_masks,
)
from weft_plugins.models.transformer.options import Options
from weft_plugins.models.transformer.windows import INPUTS

HORIZON = 12
SYMBOLS = (1, 100)
ROUNDS = 7
OURS = "Weft, double precision, with quantiles"
ONE = "torch.nn, single precision, one pass"
BATCH = "torch.nn, single precision, all passes of one symbol as a batch"
TOLERANCE = 1e-5


class Twin(nn.Module):
    """The same network from layers of torch, with dropout at the same places."""

    def __init__(self, network: Network, build: Architecture) -> None:
        super().__init__()
        self.lstm, self.straight, self.head = network.lstm, network.straight, network.head
        layers = [layer for layer in network.layers if isinstance(layer, EncoderLayer)]
        self.lower = nn.Sequential(*(_torch_layer(layer, build) for layer in layers[:-1]))
        self.last = _torch_layer(layers[-1], build)
        self.dropout = nn.Dropout(build.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return one pass with separate masks for every element."""
        embedded = self.dropout(self.lstm(x)[0] + self.straight(x))
        raw: Tensor = self.head(self.dropout(self.last(self.lower(embedded))[:, -1]))
        return raw

    def masked(self, x: Tensor, masks: Masks, number: int) -> Outputs:
        """Return the pass of one mask, computed from the first layer for every candle."""
        attention, feed_forward, hidden, head = (mask[:, number, None] for mask in masks)
        last, embedded = self.last, self.lower(self.lstm(x)[0] + self.straight(x))
        calm = last.norm1(embedded) * attention
        y = embedded + last.self_attn(calm, calm, calm, need_weights=False)[0]
        wide = functional.gelu(last.linear1(last.norm2(y) * feed_forward)) * hidden
        raw = self.head((y + last.linear2(wide)) * head)[:, -1]
        mean, scale = raw.chunk(2, dim=-1)
        return Outputs(mean, functional.softplus(scale) + 1e-3)


def _torch_layer(layer: EncoderLayer, build: Architecture) -> nn.TransformerEncoderLayer:
    """Return a layer of torch with the same weights."""
    twin = nn.TransformerEncoderLayer(
        build.width,
        build.heads,
        build.hidden,
        build.dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    nothing = torch.zeros_like(layer.query.bias)
    attention = twin.self_attn.state_dict() | {
        "in_proj_weight": torch.cat([layer.query.weight, layer.key.weight, layer.value.weight]),
        "in_proj_bias": torch.cat([layer.query.bias, nothing, layer.value.bias]),
    }
    twin.self_attn.load_state_dict(attention)
    twin.self_attn.out_proj.load_state_dict(layer.merge.state_dict())
    twin.norm1.load_state_dict(layer.before_attention.state_dict())
    twin.norm2.load_state_dict(layer.before_feed_forward.state_dict())
    twin.linear1.load_state_dict(layer.widen.state_dict())
    twin.linear2.load_state_dict(layer.narrow.state_dict())
    return twin


def main() -> None:
    """Measure and print."""
    console = Console(highlight=False)
    options = Options()
    build = architecture(options, HORIZON)
    network = build_network(build, seed=0).eval()
    # A new head gives every input the same output.
    nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(1))
    masks = draw_masks(build, 1, build.passes, torch.Generator().manual_seed(2))
    twin = Twin(network, build).train()
    forecaster = Forecaster.of(build, network, masks, options, "benchmark")
    rng = np.random.default_rng(3)
    table = Table("milliseconds", *(f"{n} symbols" if n > 1 else "1 symbol" for n in SYMBOLS))
    table.title = (
        f"A forecast by {build.passes} dropout passes, window {build.window}, "
        f"{build.layers} layers, {build.heads} heads, width {build.width}, "
        f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    )
    inputs = {n: rng.normal(size=(n, build.window, len(INPUTS))) for n in SYMBOLS}
    spent = {n: _side_by_side(_rivals(forecaster, twin, inputs[n])) for n in SYMBOLS}
    for name in (OURS, "Weft, only the passes", ONE):
        table.add_row(name, *(f"{spent[n][name] * 1e3:,.1f}" for n in SYMBOLS))
    apart = {n: spent[n][ONE] * build.passes for n in SYMBOLS}
    together = {n: spent[n][BATCH] * n for n in SYMBOLS}
    for name, peer in (("one by one", apart), ("as a batch for each symbol", together)):
        shown = (f"{peer[n] * 1e3:,.0f} ({peer[n] / spent[n][OURS]:.0f}x)" for n in SYMBOLS)
        table.add_row(f"torch.nn, {build.passes} passes {name}", *shown)
    console.print(table)
    _check(console, forecaster, twin)


def _rivals(
    forecaster: Forecaster, twin: Twin, inputs: FloatPanel
) -> dict[str, Callable[[], object]]:
    single = torch.from_numpy(inputs).float()

    def weft() -> object:
        # Window by window, with the quantiles of the mixture.
        return forecaster.forecast(inputs)

    def only_passes() -> object:
        return forecaster.passes(inputs)

    def one_pass() -> object:
        with torch.inference_mode():
            return twin(single)

    def one_batch() -> object:
        with torch.inference_mode():
            return twin(single[:1].repeat(forecaster.build.passes, 1, 1))

    return {OURS: weft, "Weft, only the passes": only_passes, ONE: one_pass, BATCH: one_batch}


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _side_by_side(rivals: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median time of each, in seconds; they run in turns, under the same load."""
    for work in rivals.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(ROUNDS):
        for name, work in rivals.items():
            times[name].append(_timed(work))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def _check(console: Console, forecaster: Forecaster, twin: Twin) -> None:
    """Exit unless each pass equals the same pass computed separately by layers of torch."""
    inputs = np.random.default_rng(4).normal(size=(5, forecaster.build.window, len(INPUTS)))
    passes = forecaster.passes(inputs)
    twin.double().eval()
    worst = 0.0
    with torch.no_grad():
        for number in range(forecaster.build.passes):
            separate = twin.masked(torch.from_numpy(inputs), forecaster.masks, number)
            for ours, theirs in zip(passes, separate, strict=True):
                worst = max(worst, float((ours[:, number] - theirs).abs().max()))
    if worst > TOLERANCE:
        raise SystemExit(f"a pass differs from the same pass by itself by {worst:.1e}")
    console.print(
        f"All {forecaster.build.passes} passes equal the same masks one by one in torch.nn, "
        f"to {worst:.0e}.\n"
    )


if __name__ == "__main__":
    main()

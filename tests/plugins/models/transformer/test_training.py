"""Training of the transformer: samples, stopping, checkpoints, divergence, devices."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load, save
from torch.optim.lr_scheduler import CosineAnnealingLR

from tests.plugins.models.transformer.cases import (
    BUILD,
    HORIZON,
    TINY,
    MemoryCheckpoints,
    ProgressLog,
    fit,
    market,
    noise,
)
from weft.components.outcomes import forward_returns, uniqueness
from weft.components.trained import Artifact
from weft.foundation.errors import ComponentError, TrainingError
from weft_plugins.checkpoints import STATE, Checkpoint
from weft_plugins.models.transformer.model import Transformer
from weft_plugins.models.transformer.network import build_network
from weft_plugins.models.transformer.samples import Samples, choose_samples
from weft_plugins.models.transformer.training import TrainingState
from weft_plugins.models.transformer.windows import INPUTS, Windows
from weft_plugins.torch_runtime import cpu_threads, devices_for, on_first_with_room

WHERE = "model transformer"


@pytest.fixture(scope="module")
def stopped() -> tuple[Artifact, dict[str, bytes]]:
    """A finished training, and the checkpoint of the same training after its first epoch."""
    storage = MemoryCheckpoints(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        fit(noise(), storage=storage)
    return fit(noise()), dict(storage.files or {})


def samples(config: Transformer.Config = TINY, rows: int = 900) -> Samples:
    history = noise(rows)
    view = history.view(Transformer(config).needs, steps=rows - config.window)
    windows = Windows.of(view.candles(), config.window)
    return choose_samples(windows, view.universe, HORIZON, config, WHERE)


def with_state(files: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    """Return a valid checkpoint with other values in its state."""
    checkpoint = Checkpoint.from_files(files, WHERE)
    return replace(checkpoint, state={**checkpoint.state, **changes}).to_files()


def with_tensors(
    files: dict[str, bytes], change: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, bytes]:
    """Return the files of a checkpoint with its first weight changed, and the old digests."""
    tensors = load(files["training.safetensors"])
    name = next(name for name in sorted(tensors) if name.startswith("weights."))
    tensors[name] = change(tensors[name]).contiguous()
    return files | {"training.safetensors": save(tensors)}


def sealed_tensors(
    files: dict[str, bytes], change: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, bytes]:
    """Return a valid checkpoint with its first weight changed."""
    changed = with_tensors(files, change)
    checkpoint = Checkpoint.from_files(files, WHERE)
    tensors = {"training.safetensors": changed["training.safetensors"]}
    return replace(checkpoint, files=tensors).to_files()


def tuned(**options: object) -> Transformer.Config:
    return Transformer.Config.model_validate(TINY.model_dump() | options)


# Samples


def test_training_outcomes_do_not_reach_validation_rows() -> None:
    chosen = samples()
    first = int(chosen.validation.rows.min())
    assert int(chosen.train.rows.max()) + HORIZON < first
    # The purge removes no more than needed.
    assert first - int(chosen.train.rows.max()) <= 2 * HORIZON + 1


def test_outcomes_of_an_epoch_do_not_overlap() -> None:
    chosen = samples()
    seen = set()
    for seed in range(12):
        epoch = chosen.of_epoch(np.random.default_rng(seed))
        drawn = np.full(chosen.windows.complete.shape, np.nan)
        drawn[epoch.rows, epoch.columns] = 1.0
        selected = uniqueness(drawn, HORIZON)
        assert selected[~np.isnan(drawn)] == pytest.approx(1.0)
        seen |= set(zip(epoch.rows.tolist(), epoch.columns.tolist(), strict=True))
    every = set(zip(chosen.train.rows.tolist(), chosen.train.columns.tolist(), strict=True))
    assert len(seen) > 0.9 * len(every)
    assert seen <= every


def test_epoch_length_is_limited() -> None:
    chosen = samples(tuned(windows_per_epoch=50, validation_windows=20))
    assert len(chosen.of_epoch(np.random.default_rng(0))) == 50
    assert len(chosen.validation) == 20


def test_symbols_outside_the_universe_are_not_trained_on() -> None:
    history = noise()
    view = history.view(Transformer(TINY).needs, steps=800)
    members = view.universe.copy()
    members[:, 1] = False
    windows = Windows.of(view.candles(), TINY.window)
    chosen = choose_samples(windows, members, HORIZON, TINY, WHERE)
    assert set(chosen.train.columns.tolist()) == {0, 2}
    assert set(chosen.validation.columns.tolist()) == {0, 2}


def test_short_history_is_refused_with_the_required_candles() -> None:
    with pytest.raises(TrainingError, match="17 candles without a gap before it"):
        fit(noise(90))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_constant_or_unknown_market_is_refused(value: float) -> None:
    with pytest.raises(TrainingError, match="only 0 outcomes for training"):
        fit(market(np.full((900, 3), value)))


# The loop


def test_stopped_training_continues_to_the_same_artifact() -> None:
    config = tuned(epochs=4)
    whole = fit(noise(), config)
    for stop_after in (1, 4):
        storage = MemoryCheckpoints(stop_after=stop_after)
        with pytest.raises(KeyboardInterrupt):
            fit(noise(), config, storage=storage)
        watcher = ProgressLog()
        resumed = fit(noise(), config, storage=storage, progress=watcher)
        assert resumed.card == whole.card
        assert resumed.files == whole.files
        assert watcher.reports[0][0] >= stop_after


@pytest.mark.parametrize(
    "spoil",
    [
        lambda files: {},
        lambda files: {name: content[:100] for name, content in files.items()},
        lambda files: files | {STATE: b"{}"},
        lambda files: files | {STATE: b"no json"},
        lambda files: files | {STATE: files[STATE].replace(b'"best": 0', b'"best": 1')},
        lambda files: with_state(files, version=0),
        lambda files: with_state(files, torch="0.0"),
        lambda files: with_state(files, seed=1),
        lambda files: with_state(files, rates=[]),
        lambda files: with_tensors(files, lambda tensor: tensor * 2.0),
        lambda files: sealed_tensors(files, lambda tensor: tensor[:1]),
    ],
    ids=[
        "empty",
        "truncated",
        "empty state",
        "not JSON",
        "changed state",
        "another version",
        "another torch",
        "another seed",
        "no rates",
        "changed tensor",
        "tensor of another network",
    ],
)
def test_unusable_checkpoint_is_ignored(
    stopped: tuple[Artifact, dict[str, bytes]],
    spoil: Callable[[dict[str, bytes]], dict[str, bytes]],
) -> None:
    full, files = stopped
    spoilt, watcher = spoil(files), ProgressLog()
    assert spoilt != files
    assert (
        fit(noise(), storage=MemoryCheckpoints(files=spoilt), progress=watcher).files == full.files
    )
    assert watcher.reports[0][0] < 1.0


class Refusing(CosineAnnealingLR):
    """A schedule that only loads a state without epochs."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["last_epoch"]:
            raise ValueError("not this one")
        super().load_state_dict(state_dict)


def test_checkpoint_that_loads_in_part_leaves_the_training_at_its_start(
    stopped: tuple[Artifact, dict[str, bytes]],
) -> None:
    files = stopped[1]
    build = replace(BUILD, inputs=len(INPUTS), window=TINY.window, horizon=HORIZON)
    build = replace(build, width=16, heads=4, layers=2, hidden=16, passes=8, dropout=TINY.dropout)
    for schedule, epochs in ((CosineAnnealingLR, 1), (Refusing, 0)):
        network = build_network(build, 3)
        optimizer = torch.optim.AdamW(network.parameters(), lr=TINY.learning_rate)
        state = TrainingState(network, optimizer, schedule(optimizer, T_max=TINY.epochs))
        checkpoint = Checkpoint.from_files(files, WHERE)
        seed = checkpoint.state["seed"]
        before = {name: value.clone() for name, value in network.state_dict().items()}
        assert state.resume(checkpoint, seed, WHERE).epochs == epochs
        after = network.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items()) == (
            not epochs
        )
        assert bool(optimizer.state_dict()["state"]) == bool(epochs)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 10**9),
        ("width", 2**40),
        ("layers", 10**6),
        ("feed_forward", 10**12),
        ("passes", 10**9),
        ("epochs", 10**12),
        ("windows_per_epoch", 10**15),
        ("validation_windows", 10**15),
        ("batch_size", 10**9),
        ("threads", 10**9),
    ],
)
def test_huge_options_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValidationError, match=name):
        tuned(**{name: value})


def test_checkpoint_has_safe_formats_only() -> None:
    storage = MemoryCheckpoints()
    fit(noise(), storage=storage)
    assert storage.files is not None
    assert sorted(storage.files) == [STATE, "training.safetensors"]
    assert Checkpoint.from_files(storage.files, WHERE).state["history"]["best"] >= 0


def test_same_seed_gives_the_same_artifact() -> None:
    first, second, other = (fit(noise(), seed=seed) for seed in (1, 1, 2))
    assert first.files == second.files
    assert first.files != other.files


def test_early_stopping_returns_the_best_weights() -> None:
    # Validation rows move the other way, so training makes them worse.
    rng = np.random.default_rng(0)
    returns = rng.normal(0.002, 0.004, (900, 3))
    returns[770:] = rng.normal(-0.002, 0.004, (130, 3))
    config = tuned(epochs=30, patience=2, learning_rate=3e-3)
    training = fit(market(returns), config).card["training"]
    assert training["epochs"] == training["best_epoch"] + 2 < 30
    assert training["validation_loss"][training["best_epoch"] - 1] == min(
        training["validation_loss"]
    )


def test_diverging_training_leaves_no_checkpoint() -> None:
    storage = MemoryCheckpoints()
    with pytest.raises(TrainingError, match=r"diverged: .* Lower learning_rate"):
        fit(noise(), tuned(learning_rate=1e30), storage=storage)
    assert storage.files is None


def test_progress_grows_to_the_end_with_finite_losses() -> None:
    watcher = ProgressLog()
    fit(noise(), progress=watcher)
    done = [reports[0] for reports in watcher.reports]
    assert done == sorted(done)
    assert watcher.reports[-1][:2] == (2.0, 2.0)
    assert len(watcher.reports) > 10
    assert all(np.isfinite(reports[2]["loss"]) for reports in watcher.reports)
    assert set(watcher.reports[-1][2]) == {"loss", "validation", "best"}


def test_training_restores_threads_and_random_state() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    artifact = fit(noise(), tuned(threads=threads + 1, epochs=1, windows_per_epoch=64))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    assert artifact.files


# Card


def test_card_has_the_validation_coverage() -> None:
    history = noise()
    artifact = fit(history)
    model = Transformer(TINY)
    view = history.view(model.needs, steps=900 - TINY.window, learned=model.load(artifact))
    forecast, chosen = model.predict(view), samples()
    outcome = forward_returns(view.candles().close, HORIZON)[-view.steps :]
    first = len(view.candles()) - view.steps
    at = (chosen.validation.rows - first, chosen.validation.columns)
    reports = artifact.card["training"]["validation_coverage"]
    for name, low, high in (("50%", 0.25, 0.75), ("90%", 0.05, 0.95)):
        above, below = (forecast.quantiles[level][at] for level in (low, high))
        inside = (outcome[at] >= above) & (outcome[at] <= below)
        assert reports[name] == pytest.approx(inside.mean(), abs=1e-4)
    assert 0.3 < reports["50%"] < reports["90%"] <= 1.0


def test_card_has_the_mean_of_each_input() -> None:
    chosen = samples(rows=700)
    inputs, _ = chosen.windows.inputs(chosen.train)
    means = fit(noise(700)).card["input_means"]
    for number, name in enumerate(INPUTS):
        assert means[name] == pytest.approx(inputs[..., number].mean())
    assert means["range"] > 0.5


# Devices


def test_threads_are_restored_after_a_failure() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        assert torch.get_num_threads() == before + 1
        raise TrainingError("on purpose")

    with pytest.raises(TrainingError), cpu_threads(before + 1):
        fail()
    assert torch.get_num_threads() == before


def test_devices_follow_the_machine() -> None:
    kinds = [device.type for device in devices_for("auto", WHERE)]
    assert kinds == (["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"])
    assert [device.type for device in devices_for("cpu", WHERE)] == ["cpu"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_gpu_is_refused_with_an_alternative() -> None:
    with pytest.raises(ComponentError, match="device: auto"):
        fit(noise(), tuned(device="cuda"))


def test_full_gpu_falls_back_to_the_cpu() -> None:
    tried = []

    def work(device: torch.device) -> str:
        tried.append(device.type)
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    devices = [torch.device("cuda"), torch.device("cpu")]
    assert on_first_with_room(devices, work, WHERE) == "done"
    assert tried == ["cuda", "cpu"]
    with pytest.raises(ComponentError, match="cuda ran out of memory"):
        on_first_with_room(devices[:1], work, WHERE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_transformer_trains_on_a_gpu() -> None:
    assert fit(noise(), tuned(device="cuda")).card["training"]["epochs"] == 2

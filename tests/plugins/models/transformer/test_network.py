"""The network against torch, the noise against scipy, and fused passes against single ones."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.nn import functional

from tests.plugins.models.transformer.cases import BUILD, TINY, fresh_network, windows_of
from weft_plugins.models.transformer.forecast import Forecaster
from weft_plugins.models.transformer.kernels import mixture_probabilities, mixture_quantiles
from weft_plugins.models.transformer.network import (
    NOISES,
    EncoderLayer,
    Masks,
    Outputs,
    build_network,
    draw_masks,
    mixture_log_likelihood,
)

ORACLES = {"student": stats.t(4), "gaussian": stats.norm()}


def torch_layer(layer: EncoderLayer, width: int, hidden: int) -> nn.TransformerEncoderLayer:
    """The encoder layer of torch with the same weights."""
    twin = nn.TransformerEncoderLayer(
        width, layer.heads, hidden, 0.0, "gelu", batch_first=True, norm_first=True
    ).double()
    nothing = torch.zeros_like(layer.query.bias)
    twin.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat(
                [layer.query.weight, layer.key.weight, layer.value.weight]
            ),
            "self_attn.in_proj_bias": torch.cat([layer.query.bias, nothing, layer.value.bias]),
            "self_attn.out_proj.weight": layer.merge.weight,
            "self_attn.out_proj.bias": layer.merge.bias,
            "linear1.weight": layer.widen.weight,
            "linear1.bias": layer.widen.bias,
            "linear2.weight": layer.narrow.weight,
            "linear2.bias": layer.narrow.bias,
            "norm1.weight": layer.before_attention.weight,
            "norm1.bias": layer.before_attention.bias,
            "norm2.weight": layer.before_feed_forward.weight,
            "norm2.bias": layer.before_feed_forward.bias,
        }
    )
    return twin


def with_lively_norms(layer: EncoderLayer) -> EncoderLayer:
    """The layer in double precision with random weights everywhere."""
    generator = torch.Generator().manual_seed(3)
    for part in (layer.before_attention, layer.before_feed_forward):
        nn.init.normal_(part.weight, generator=generator)
        nn.init.normal_(part.bias, generator=generator)
    return layer.double()


@pytest.fixture
def layer() -> EncoderLayer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return with_lively_norms(EncoderLayer(BUILD.width, BUILD.heads, BUILD.hidden))


@pytest.fixture
def x() -> Tensor:
    return torch.randn((5, 16, BUILD.width), generator=torch.Generator().manual_seed(2)).double()


def test_layer_equals_the_encoder_layer_of_torch(layer: EncoderLayer, x: Tensor) -> None:
    twin = torch_layer(layer, BUILD.width, BUILD.hidden)
    torch.testing.assert_close(layer(x), twin(x), rtol=0, atol=1e-12)


def test_fused_passes_equal_separate_passes(layer: EncoderLayer, x: Tensor) -> None:
    masks = draw_masks(BUILD, 1, 7, torch.Generator().manual_seed(4))
    masks = masks.to(torch.device("cpu"), torch.float64)
    at_once = layer.last(x, masks)
    twin = torch_layer(layer, BUILD.width, BUILD.hidden)
    for number in range(7):
        attention, feed_forward, hidden, _ = (mask[:, number, None] for mask in masks)
        calm = twin.norm1(x) * attention
        y = x + twin.self_attn(calm, calm, calm, need_weights=False)[0]
        wide = functional.gelu(twin.linear1(twin.norm2(y) * feed_forward)) * hidden
        alone = (y + twin.linear2(wide))[:, -1]
        torch.testing.assert_close(at_once[:, number], alone, rtol=0, atol=1e-12)


def test_windows_with_separate_masks_equal_single_windows() -> None:
    network = fresh_network()
    masks = draw_masks(BUILD, 5, 1, torch.Generator().manual_seed(5))
    masks = masks.to(torch.device("cpu"), torch.float64)
    inputs = torch.from_numpy(windows_of(BUILD, 5))
    together = network(inputs, masks)
    for number in range(5):
        selected = Masks(*(mask[number : number + 1] for mask in masks))
        alone = network(inputs[number : number + 1], selected)
        torch.testing.assert_close(together.mean[number], alone.mean[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(together.scale[number], alone.scale[0], rtol=0, atol=1e-12)


def test_masks_preserve_the_mean_and_drop_their_share() -> None:
    masks = draw_masks(BUILD, 400, 20, torch.Generator().manual_seed(6))
    for mask in masks:
        assert sorted(set(mask.flatten().tolist())) == pytest.approx([0.0, 1.25])
        # 400 * 20 * 16 draws: the standard error of the mean is below 0.0014.
        assert float(mask.mean()) == pytest.approx(1.0, abs=0.006)


def test_error_of_the_mean_falls_with_the_root_of_passes() -> None:
    network = fresh_network()
    inputs = torch.from_numpy(windows_of(BUILD, 20))
    masks = draw_masks(BUILD, 1, 1600, torch.Generator().manual_seed(7))
    with torch.no_grad():
        output = network(inputs, masks.to(torch.device("cpu"), torch.float64)).mean[..., -1]

    def error(passes: int) -> float:
        groups = output.reshape(20, -1, passes).mean(dim=2)
        return float(groups.var(dim=1).mean().sqrt())

    assert error(1) / error(16) == pytest.approx(4.0, rel=0.15)
    assert error(4) / error(64) == pytest.approx(4.0, rel=0.3)


def test_new_network_leaves_the_global_random_state() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (build_network(BUILD, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.straight.weight, second.straight.weight)
    assert not torch.equal(first.straight.weight, other.straight.weight)


def test_forecast_leaves_no_gradient() -> None:
    network = fresh_network()
    before = copy.deepcopy(network.state_dict())
    masks = draw_masks(BUILD, 1, 3, torch.Generator().manual_seed(8))
    with torch.inference_mode():
        network(
            torch.from_numpy(windows_of(BUILD, 4)), masks.to(torch.device("cpu"), torch.float64)
        )
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("name", ORACLES)
def test_noise_equals_the_distributions_of_scipy(name: str) -> None:
    ours, oracle = NOISES[name], ORACLES[name]
    z = np.linspace(-30.0, 30.0, 241)
    tensor = torch.from_numpy(z)
    np.testing.assert_allclose(ours.log_density(tensor), oracle.logpdf(z), atol=1e-12)
    below = mixture_probabilities(z[:, None], heavy=ours.heavy)
    np.testing.assert_allclose(below, oracle.cdf(z), atol=1e-13)
    for level in (1e-6, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0 - 1e-6):
        assert ours.quantile(level) == pytest.approx(oracle.ppf(level), rel=1e-8, abs=1e-9)
    assert ours.variance == pytest.approx(oracle.var())


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("apart", [0.0, 0.3, 20.0])
def test_mixture_quantiles_invert_the_distribution(name: str, apart: float) -> None:
    rng = np.random.default_rng(9)
    mean = rng.normal(0.0, 1.0, (3, 11)) * apart
    scale = rng.uniform(0.3, 2.0, (3, 11))
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    noise = NOISES[name]
    standard = [noise.quantile(level) for level in levels]
    result = mixture_quantiles(mean, scale, levels, standard, heavy=noise.heavy)
    for row in range(3):
        for column, level in enumerate(levels):

            def beyond(value: float, row: int = row, level: float = level) -> float:
                return float(ORACLES[name].cdf((value - mean[row]) / scale[row]).mean() - level)

            expected = brentq(beyond, -1e3, 1e3, xtol=1e-13)
            assert result[row, column] == pytest.approx(expected, abs=1e-9)


def test_mixture_likelihood_is_the_mean_of_its_parts() -> None:
    rng = np.random.default_rng(10)
    mean, scale = rng.normal(size=(4, 6, 2)), rng.uniform(0.5, 2.0, (4, 6, 2))
    outcome = rng.normal(size=(4, 2))
    output = Outputs(torch.from_numpy(mean), torch.from_numpy(scale))
    result = mixture_log_likelihood(NOISES["student"], torch.from_numpy(outcome), output)
    parts = stats.t(4, loc=mean, scale=scale).pdf(outcome[:, None])
    np.testing.assert_allclose(result, np.log(parts.mean(axis=1)), atol=1e-12)


def test_window_has_the_same_bits_in_any_batch() -> None:
    build = replace(BUILD, window=15, passes=5)
    masks = draw_masks(build, 1, build.passes, torch.Generator().manual_seed(11))
    windows = windows_of(build, 41)
    for threads in (1, 3):
        options = TINY.model_copy(update={"threads": threads})
        built = Forecaster.of(build, fresh_network(build), masks, options, "test")
        alone = np.concatenate([built.forecast(windows[n : n + 1]) for n in range(41)])
        for first, last in ((0, 41), (0, 2), (3, 12), (7, 40)):
            assert np.array_equal(built.forecast(windows[first:last]), alone[first:last])
        assert np.array_equal(built.forecast(windows[::-1]), alone[::-1])
        layout = np.asfortranarray(windows)
        assert np.array_equal(built.forecast(layout), alone)


@pytest.mark.parametrize("name", ORACLES)
def test_separate_windows_equal_the_network_on_a_batch(name: str) -> None:
    """The compiled LSTM and mixture against torch, and the figures against NumPy."""
    masks = draw_masks(BUILD, 1, BUILD.passes, torch.Generator().manual_seed(12))
    options = TINY.model_copy(update={"noise": name})
    built = Forecaster.of(BUILD, fresh_network(), masks, options, "test")
    windows = windows_of(BUILD, 9)
    path = built.passes(windows)
    mean, scale = (part[..., -1].numpy() for part in path)
    output = built.forecast(windows)
    np.testing.assert_allclose(output[:, 0], mean.mean(axis=1), atol=1e-12)
    up = ORACLES[name].cdf(mean / scale).mean(axis=1)
    np.testing.assert_allclose(output[:, 1], up, atol=1e-12)
    np.testing.assert_allclose(output[:, 2], mean.std(axis=1), atol=1e-12)
    noise = np.sqrt(ORACLES[name].var() * np.mean(scale**2, axis=1))
    np.testing.assert_allclose(output[:, 3], noise, atol=1e-12)
    np.testing.assert_allclose(built.for_judging().forecast(windows), output, atol=1e-9)

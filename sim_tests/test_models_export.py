"""Export: what every kind of network computes as integers is what the model computes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwsim.config.training import ModelConfig
from hwsim.errors import ConfigError
from hwsim.models.export import LOGITS, agreement, export_network, fixed_point, network_input
from hwsim.models.layers import Norm
from hwsim.models.networks import ConvNet, build_network
from hwsim.network import ArgMax, Conv2d, MuxConv2d, Requantize, evaluate, load, save

IMAGE = (2, 9, 10)
CONFIGS = {
    "cnn": {"channels": (5, 6)},
    "cnn_pool": {"channels": (5, 6, 7), "pools": (0, 2), "strides": (1, 1, 2)},
    "cnn_mux_stem": {"channels": (5, 6), "stem": "mux", "stem_kernel": 5},
    "cnn_dense": {"channels": (5, 6), "convolution": "dense", "weights": "int4"},
    "cnn_1bit": {"channels": (8, 8), "activation_bits": 1, "input_bits": 1},
    "cnn_ternary": {"channels": (5, 6), "weights": "ternary", "stem_weights": "int8"},
    "cnn_pow2": {"channels": (5, 6), "weights": "pow2_3", "head_weights": None},
    "cnn_8bit": {"channels": (5, 6), "activation_bits": 8, "residual_bits": 10},
    "resnet": {"network": "resnet", "channels": (5, 6), "blocks": 2},
    "resnet_int8": {
        "network": "resnet", "channels": (4, 4), "blocks": 1, "weights": "int8",
        "activation_bits": 2, "residual_bits": 6, "stem_stride": 2,
    },
    "cnn1d": {"network": "cnn1d", "channels": (5, 6), "strides": (2, 1), "pools": (1,)},
}  # fmt: skip


def trained_looking(config: ModelConfig, shape: tuple[int, int, int], seed: int = 0) -> ConvNet:
    """A frozen network with plausible statistics and gammas of both signs."""
    net = build_network(config, shape, 3, seed=seed)
    net.set_beta(5.0)
    net.freeze_positions()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, Norm):
                module.gamma.copy_(torch.randn(module.gamma.shape, generator=generator))
                module.beta.copy_(torch.randn(module.beta.shape, generator=generator) * 0.3)
        net.head.bias.copy_(torch.randn(3, generator=generator))
        for batch in range(20):
            net(torch.from_numpy(inputs(config, shape, 64, batch)))
    return net.eval()


def pictures(shape: tuple[int, int, int], count: int, seed: int = 99) -> np.ndarray:
    """Smooth random pictures [count, *shape], uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, shape[0], 3, 5))
    image = np.repeat(np.repeat(coarse, 4, axis=2), 3, axis=3)[:, :, : shape[1], : shape[2]]
    return image.astype(np.uint8)


def inputs(config: ModelConfig, shape: tuple[int, int, int], count: int, seed: int) -> np.ndarray:
    return network_input(pictures(shape, count, seed), config.input_bits)


@pytest.mark.parametrize("name", CONFIGS)
def test_integers_agree_with_the_model(name, tmp_path):
    config = ModelConfig(**CONFIGS[name], multiplier_bits=20)
    shape = (2, 1, 10) if config.network == "cnn1d" else IMAGE
    net = trained_looking(config, shape)
    network = export_network(net, name)
    assert isinstance(network.ops[-1], ArgMax)
    assert network.ops[-1].inputs == (LOGITS,)
    save(network, tmp_path / "n.hwnet")
    network = load(tmp_path / "n.hwnet")
    images = pictures(shape, 100)
    assert agreement(net, network, images) >= 0.99
    x = network_input(images, config.input_bits)
    logits = evaluate(network, x)[LOGITS].reshape(100, 3)
    with torch.no_grad():
        real = net(torch.from_numpy(x)).numpy()
    scale = float(net.head.integers()[1].detach())
    # Half of the logits differ by the rounding of the bias alone.
    assert np.median(np.abs(logits * scale - real)) <= 0.5 * scale * (1 + 1e-3)


def test_every_tensor_of_a_layer_is_equal():
    config = ModelConfig(channels=(6,), multiplier_bits=24)
    net = trained_looking(config, IMAGE)
    network = export_network(net)
    x = inputs(config, IMAGE, 50, 1)
    with torch.no_grad():
        layer = net.body[0]
        acc = layer.conv(torch.from_numpy(x).float())
        out = layer.act(acc)
    tensors = evaluate(network, x)
    assert np.array_equal(acc.numpy(), tensors["conv0_acc"])
    assert np.array_equal(out.numpy(), tensors["conv0"])


def test_ops_and_ranges():
    net = trained_looking(ModelConfig(channels=(5, 6), activation_bits=3), IMAGE)
    network = export_network(net, "mine", {"seed": 4})
    assert (network.name, network.notes) == ("mine", {"seed": 4})
    assert isinstance(network["conv0_acc"], Conv2d)
    assert isinstance(network["conv1_acc"], MuxConv2d)
    requantize = network["conv1"]
    assert isinstance(requantize, Requantize)
    assert (requantize.lo, requantize.hi) == (0, 7)
    assert int(np.abs(requantize.multiplier).max()) < 1 << 12
    assert int(requantize.multiplier.min()) < 0


def test_a_dead_channel_does_not_cost_the_others_their_precision():
    net = trained_looking(ModelConfig(channels=(6,)), IMAGE)
    norm = net.body[0].act.norm
    before = export_network(net)["conv0"].shift
    norm.running_var[2] = 0.0
    after = export_network(net)["conv0"].shift
    assert before - after <= 10


def test_refuses_what_has_no_integers():
    config = ModelConfig(channels=(4,))
    with pytest.raises(ValueError, match="float twin"):
        export_network(build_network(config, IMAGE, 3, seed=0, twin=True))
    soft = build_network(ModelConfig(channels=(4, 4)), IMAGE, 3, seed=0)
    with pytest.raises(ValueError, match="not frozen"):
        export_network(soft)


@given(
    st.lists(st.floats(-50, 50, allow_subnormal=False), min_size=1, max_size=4),
    st.floats(-100, 100),
    st.integers(-2000, 2000),
    st.integers(4, 24),
)
def test_fixed_point_is_right_but_for_the_multiplier(multipliers, bias, x, bits):
    real = np.array(multipliers)
    m, b, shift = fixed_point(real, np.full(len(real), bias), bits)
    assert int(np.abs(m).max()) < 1 << bits
    assert 0 <= shift <= 62 - bits
    for i, value in enumerate(multipliers):
        exact = Fraction(value) * x + Fraction(bias) + Fraction(1, 2)
        error = Fraction(abs(x) + 1, 2 << shift) + abs(
            Fraction(int(m[i]), 1 << shift) - Fraction(value)
        ) * abs(x)
        got = (x * int(m[i]) + int(b[i])) >> shift
        assert (exact - error).__floor__() <= got <= (exact + error).__floor__()


def test_fixed_point_uses_all_bits():
    m, _, shift = fixed_point(np.array([0.3, -0.01]), np.zeros(2), 12)
    assert (shift, m.tolist()) == (13, [2458, -82])


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        ({"network": "cnn1d"}, IMAGE, r"model.network: cnn1d needs signals of height 1"),
        ({"channels": (4, 4), "strides": (4, 4), "pools": (1,)}, (1, 8, 8), "no room for the pool"),
    ],
)
def test_data_that_does_not_fit(config, shape, message):
    with pytest.raises(ConfigError, match=message):
        build_network(ModelConfig(**config), shape, 3, seed=0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"strides": (1,)}, "strides must have one entry for each of the 3 channels, not 1"),
        ({"pools": (3,)}, r"pools must be 0..2, not 3"),
        ({"pools": (1, 0)}, "must be ascending"),
        ({"network": "resnet", "pools": (0,)}, "do not apply to resnet"),
        ({"stem_stride": 2}, "applies to resnet only"),
        ({"activation_bits": 7}, "residual_bits must be at least"),
        ({"weights": "int9"}, "Input should be 'binary'"),
        ({"channels": ()}, "at least 1 item"),
        ({"width": 3}, "Extra inputs"),
    ],
)
def test_model_config_rules(config, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**config)

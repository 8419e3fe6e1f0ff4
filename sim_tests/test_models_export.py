"""Export: what every kind of network computes as integers is what the model computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hwsim.config.training import DataConfig, ModelConfig
from hwsim.errors import ConfigError, NetworkError
from hwsim.models.data import load_data
from hwsim.models.export import LOGITS, agreement, export_network
from hwsim.models.golden import GoldenNetwork
from hwsim.models.inference import network_input, predict
from hwsim.models.layers import DenseConv2d, Norm, NormTable
from hwsim.models.networks import ConvNet, build_network
from hwsim.models.settle import settle_statistics
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
    "cnn_8bit": {"channels": (5, 6), "activation_bits": 8},
    "cnn_7bit": {"channels": (5, 6), "activation_bits": 7},
    "resnet_8bit": {
        "network": "resnet", "channels": (5, 6), "blocks": 1, "activation_bits": 8,
        "residual_bits": 10,
    },
    "resnet": {"network": "resnet", "channels": (5, 6), "blocks": 2},
    "resnet_int8": {
        "network": "resnet", "channels": (4, 4), "blocks": 1, "weights": "int8",
        "activation_bits": 2, "residual_bits": 6, "stem_stride": 2,
    },
    "cnn_hard_swish": {"channels": (5, 6), "activation": "hard_swish", "pools": (0,)},
    "resnet_hard_swish": {
        "network": "resnet", "channels": (5, 6), "blocks": 2, "activation": "hard_swish",
        "activation_bits": 5,
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
    settle_statistics(net, (torch.from_numpy(inputs(config, shape, 64, n)) for n in range(8)))
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


def test_the_table_that_is_trained_is_the_one_in_the_network():
    """Every entry, and every tensor of a layer; the function falls before it rises."""
    config = ModelConfig(
        channels=(6,), activation="hard_swish", activation_bits=6, multiplier_bits=24
    )
    net = trained_looking(config, IMAGE)
    network = export_network(net)
    x = inputs(config, IMAGE, 50, 1)
    act = net.body[0].act
    with torch.no_grad():
        acc = net.body[0].conv(torch.from_numpy(x).float())
        out = act(acc)
    tensors = evaluate(network, x)
    assert np.array_equal(out.numpy(), tensors["conv0"])
    step = math.exp(float(act.range.log_range.detach())) / 31
    for n, entry in enumerate(network["conv0"].table[0].tolist()):
        real = (n - 128) / 16
        swished = real * min(max(real + 3, 0), 6) / 6
        assert abs(entry - min(max(swished / step, -32), 31)) <= 0.5 + 1e-4
    assert np.diff(network["conv0"].table[0]).min() < 0 < np.diff(network["conv0"].table[0]).max()


def test_the_gradient_is_that_of_hard_swish():
    act = NormTable(1, 8).eval()
    x = torch.linspace(-9, 5, 400).reshape(400, 1, 1, 1).requires_grad_()
    out = act(x)
    out.sum().backward()
    assert float(act.range.log_range.grad) != 0
    # Statistics are 0 and 1, to which the norm adds its epsilon of 1.
    at = (x.detach() / math.sqrt(2) * 16 + 0.5).floor() / 16
    slope = torch.where(at < -3, 0.0, torch.where(at > 3, 1.0, (2 * at + 3) / 6))
    expected = slope / float(act.range.step().detach()) / math.sqrt(2)
    inside = (out.detach() < 127) & (at.abs() != 3)
    assert torch.allclose(x.grad[inside], expected[inside], rtol=1e-5)
    assert expected[inside].min() < 0 < expected[inside].max()


def test_ops_and_ranges():
    net = trained_looking(ModelConfig(channels=(5, 6), activation_bits=3), IMAGE)
    network = export_network(net, "mine", {"seed": 4})
    assert (network.name, network.notes) == ("mine", {"seed": 4})
    assert isinstance(network["conv0_acc"], Conv2d)
    assert isinstance(network["conv1_acc"], MuxConv2d)
    requantize = network["conv1"]
    assert isinstance(requantize, Requantize)
    assert (requantize.lo, requantize.hi) == (0, 7)
    assert 1 << 11 <= int(np.abs(requantize.multiplier).max()) < 1 << 16
    assert int(requantize.multiplier.min()) < 0


def test_a_pruned_filter_does_not_cost_the_others_their_precision():
    net = trained_looking(ModelConfig(channels=(6,), stem_weights="int8"), IMAGE)
    before = export_network(net)["conv0"]
    with torch.no_grad():
        net.body[0].conv.weight[2] = 0.0
    settle_statistics(net, [torch.from_numpy(inputs(net.config, IMAGE, 64, 0))])
    pruned = export_network(net)["conv0"]
    assert (pruned.multiplier[2], before.multiplier[2] != 0) == (0, True)
    assert abs(pruned.shift - before.shift) <= 1
    others = [0, 1, 3, 4, 5]
    assert int(np.abs(pruned.multiplier[others]).min()) > 1 << 9


def test_branches_of_a_block_meet_in_all_of_the_residual_bits():
    """Saturated at both ends of s6; the sum is rounded to the nearest of the 2 bits of a block."""
    config = ModelConfig(
        network="resnet", channels=(4, 4), blocks=1, activation_bits=2, residual_bits=6
    )
    network = export_network(trained_looking(config, IMAGE))
    names = [op.name for op in network.ops if op.name.endswith("_sum")]
    assert names
    for name in names:
        for branch in network[name].inputs:
            assert (network[branch].lo, network[branch].hi) == (-32, 31)
        (after,) = (op for op in network.ops if op.inputs == (name,))
        values = np.arange(-64, 63)
        channel = ((values * after.multiplier[0] + after.bias[0]) >> after.shift).clip(
            after.lo, after.hi
        )
        # An output unit is 8 of the residual's: 6 bits, of them a sign and 2 before the point.
        assert channel.tolist() == [min(max(math.floor(v / 8 + 0.5), 0), 3) for v in values]
        assert len(set(zip(after.multiplier, after.bias, strict=True))) == 1


def test_refuses_what_has_no_integers():
    config = ModelConfig(channels=(4,))
    with pytest.raises(ValueError, match="float twin"):
        export_network(build_network(config, IMAGE, 3, seed=0, twin=True))
    soft = build_network(ModelConfig(channels=(4, 4)), IMAGE, 3, seed=0)
    with pytest.raises(ValueError, match="not frozen"):
        export_network(soft)


def test_integers_have_62_bits():
    network = build_network(ModelConfig(channels=(4,)), IMAGE, 3, seed=0)
    network.freeze_positions()
    settle_statistics(network, [torch.from_numpy(inputs(network.config, IMAGE, 64, 0))])
    with torch.no_grad():
        scale = network.head.integers()[1]
        network.head.bias[1] = 2.0**62 * scale
    with pytest.raises(NetworkError, match=r"^op 'logits': values must be finite"):
        export_network(network)


def test_refuses_what_is_not_finite_by_name():
    for change, line in {
        "gamma": r"^op 'conv1': channel 3: multiplier nan and bias .* must be finite",
        "weight": r"^op 'conv0_acc': values must be finite",
        "bias": r"^op 'logits': values must be finite",
    }.items():
        net = trained_looking(ModelConfig(channels=(4, 4), stem_weights="int8"), IMAGE)
        with torch.no_grad():
            if change == "gamma":
                net.body[1].act.norm.gamma[3] = torch.nan
            elif change == "weight":
                net.body[0].conv.weight[0, 0, 0, 0] = torch.nan
            else:
                net.head.bias[1] = torch.inf
        settle_statistics(net, [torch.from_numpy(inputs(net.config, IMAGE, 64, 0))])
        with pytest.raises(NetworkError, match=line):
            export_network(net)


TRAINED = {
    "pruned int8": {"channels": (8, 12), "strides": (1, 2), "weights": "int8"},
    "pruned int8, 2 bits": {
        "channels": (8, 12), "strides": (1, 2), "weights": "int8", "activation_bits": 2,
    },
    **{
        f"wide residuals, {bits} bits": {
            "network": "resnet", "channels": (8, 16), "blocks": 1, "stem": "mux",
            "weights": "int4", "activation_bits": bits, "residual_bits": 16,
        }
        for bits in (1, 2, 3)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TRAINED)
def test_trained_networks_answer_as_their_integers_do(name):
    """Half of the filters pruned, and the widest residuals: nothing that training knew is lost."""
    torch.manual_seed(0)
    data = load_data(DataConfig())
    config = ModelConfig(convolution="dense", **TRAINED[name])
    net = build_network(config, data.shape, data.classes, seed=0)
    net.freeze_positions()
    x = torch.from_numpy(network_input(data.train_x, config.input_bits))
    y = torch.from_numpy(data.train_y)
    pruned = [m for m in net.modules() if isinstance(m, DenseConv2d)] if "pruned" in name else []
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(120):
        rows = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
        with torch.no_grad():
            for conv in pruned:
                conv.weight[::2] = 0.0
    settle_statistics(net.eval(), x.split(256))
    network = export_network(net)
    if pruned:
        assert not network["conv1"].multiplier[::2].any()
    expected = predict(net, data.test_x)
    assert float(np.mean(expected == data.test_y)) > 0.5
    values = GoldenNetwork(network).tensors(
        torch.from_numpy(network_input(data.test_x, config.input_bits))
    )
    assert float(np.mean(values["label"].numpy().ravel() == expected)) >= 0.99
    features = values[network["pooled"].inputs[0]]
    with torch.no_grad():
        same = net.body(values["input"].float()) == features
    assert float(same.float().mean()) >= 0.99
    assert len(features.unique()) > 1


def test_statistics_of_other_weights_are_warned_of():
    net = trained_looking(ModelConfig(channels=(4, 4)), IMAGE)
    export_network(net)  # warnings are errors
    copy = build_network(net.config, IMAGE, 3, seed=1)
    copy.load_state_dict(net.state_dict())
    export_network(copy)
    with torch.no_grad():
        net.body[1].conv.weight[0, 0, 0] *= -1
    with pytest.warns(UserWarning, match="statistics do not belong to these weights") as caught:
        export_network(net)
    assert caught[0].filename == __file__
    fresh = build_network(net.config, IMAGE, 3, seed=1)
    fresh.freeze_positions()
    with pytest.warns(UserWarning, match=r"call settle_statistics\(model, batches\)"):
        export_network(fresh)


def test_settled_statistics_are_those_of_the_data():
    """One batch: each norm's input has the very mean and variance that the norm then holds."""
    net = trained_looking(ModelConfig(channels=(4, 4)), IMAGE)
    x = torch.from_numpy(inputs(net.config, IMAGE, 64, 5))
    seen = {}
    norms = [module for module in net.modules() if isinstance(module, Norm)]
    hooks = [
        norm.register_forward_hook(lambda norm, given, _: seen.update({norm: given[0]}))
        for norm in norms
    ]
    momenta = [norm.momentum for norm in norms]
    settle_statistics(net, [x])
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(norms) == 2
    for norm, value in seen.items():
        assert torch.allclose(norm.running_mean, value.mean(dim=(0, 2, 3)), rtol=1e-5, atol=1e-5)
        assert torch.allclose(norm.running_var, value.var(dim=(0, 2, 3)), rtol=1e-4)
    assert not net.training
    assert [norm.momentum for norm in norms] == momenta
    with pytest.raises(ValueError, match="at least one batch"):
        settle_statistics(net, [])


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
        (
            {"network": "resnet", "activation_bits": 7},
            "residual_bits must be at least activation_bits",
        ),
        ({"weights": "int9"}, "Input should be 'binary'"),
        ({"channels": ()}, "at least 1 item"),
        ({"width": 3}, "Extra inputs"),
    ],
)
def test_model_config_rules(config, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**config)

"""Every rule of the integer network: the text of the error that its violation gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.accelerator import build_pipeline
from hwsim.accelerator.fields import store_image
from hwsim.accelerator.weights import weight_store
from hwsim.errors import NetworkError
from hwsim.models.memory import TapMemory
from hwsim.names import LINE_RULE, OP_RULE
from hwsim.network import (
    INPUT,
    Add,
    Alphabet,
    ArgMax,
    AvgPool2d,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
    bits_for,
    evaluate,
    load,
    save,
    tap_bits,
)
from hwsim.network.summary import _describe_op

SOURCE = TensorType(2, 4, 5, 4)
VECTOR = TensorType(3, 1, 1, 4)


def mux(**changes: Any) -> MuxConv2d:
    values: dict[str, Any] = {
        "tap": np.zeros((3, 2), int),
        "weight": np.ones((3, 2), int),
        "kernel": (3, 3),
        "pad": (1, 1),
    }
    return MuxConv2d("op", (INPUT,), **{**values, **changes})


def conv(**changes: Any) -> Conv2d:
    values: dict[str, Any] = {"weight": np.ones((4, 2, 3, 3), int), "pad": (1, 1)}
    return Conv2d("op", (INPUT,), **{**values, **changes})


def requantize(**changes: Any) -> Requantize:
    values: dict[str, Any] = {
        "multiplier": np.ones(2, int),
        "bias": np.zeros(2, int),
        "shift": 0,
        "lo": 0,
        "hi": 15,
    }
    return Requantize("op", (INPUT,), **{**values, **changes})


def broken(source: TensorType, make: Callable[[], Op], text: str) -> Any:
    return pytest.param(source, make, text, id=text[:50])


OP_RULES = [
    broken(SOURCE, lambda: mux(kernel=(0, 3)), "kernel must be two integers >= 1, not (0, 3)"),
    broken(SOURCE, lambda: mux(kernel=3), "kernel must be two integers >= 1, not 3"),
    broken(SOURCE, lambda: mux(stride=(1, 0)), "stride must be two integers >= 1, not (1, 0)"),
    broken(SOURCE, lambda: mux(pad=(-1, 0)), "pad must be two integers >= 0, not (-1, 0)"),
    broken(SOURCE, lambda: mux(pad=(1.0, 0)), "pad must be two integers >= 0, not (1.0, 0)"),
    broken(SOURCE, lambda: mux(pad=(3, 1)), "pad [3, 1] must be smaller than kernel [3, 3]"),
    broken(
        SOURCE,
        lambda: mux(kernel=(7, 3)),
        "kernel [7, 3] with pad [1, 1] does not fit input 4x5",
    ),
    broken(
        SOURCE, lambda: mux(weight=np.ones(3, int)), "weight must be [outputs, inputs], not [3]"
    ),
    broken(
        SOURCE,
        lambda: mux(weight=np.ones((0, 2), int)),
        "weight must be [outputs, inputs], not [0, 2]",
    ),
    broken(
        SOURCE,
        lambda: mux(tap=np.zeros((3, 1), int)),
        "tap must have the shape of weight [3, 2], not [3, 1]",
    ),
    broken(TensorType(3, 4, 5, 4), mux, "weight is for 2 channels, input has 3"),
    broken(SOURCE, lambda: mux(tap=np.full((3, 2), 9)), "tap must be 0..8, not 9..9"),
    broken(SOURCE, lambda: mux(tap=np.full((3, 2), -1)), "tap must be 0..8, not -1..-1"),
    broken(
        SOURCE,
        lambda: mux(weight=np.full((3, 2), 2)),
        "weight has values outside alphabet binary and 0",
    ),
    broken(
        SOURCE,
        lambda: mux(weight=np.full((3, 2), 3), alphabet=Alphabet("pow2_3")),
        "weight has values outside alphabet pow2_3 and 0",
    ),
    broken(SOURCE, lambda: mux(weight=np.ones((3, 2))), "weight must hold integers, not float64"),
    broken(
        SOURCE,
        lambda: mux(weight=np.full((3, 2), 1 << 63, np.uint64)),
        "weight must fit 64 bits, signed",
    ),
    broken(
        TensorType(2, 4, 5, 32),
        lambda: mux(),
        "values 0..8589934590 need 33 bits; at most 32 allowed",
    ),
    broken(
        SOURCE,
        lambda: conv(weight=np.ones((2, 2), int)),
        "weight must be [outputs, inputs/groups, kh, kw], not [2, 2]",
    ),
    broken(SOURCE, lambda: conv(groups=3), "groups must divide the 4 outputs, not 3"),
    broken(SOURCE, lambda: conv(groups=0), "groups must divide the 4 outputs, not 0"),
    broken(SOURCE, lambda: conv(groups=2), "weight is for 4 channels, input has 2"),
    broken(
        SOURCE,
        lambda: conv(weight=np.full((4, 2, 3, 3), 128)),
        "weight has values outside alphabet int8",
    ),
    broken(
        SOURCE,
        lambda: conv(weight=np.zeros((4, 2, 3, 3), int), alphabet=Alphabet("binary")),
        "weight has values outside alphabet binary",
    ),
    broken(SOURCE, lambda: conv(pad=(1, 3)), "pad [1, 3] must be smaller than kernel [3, 3]"),
    broken(
        SOURCE,
        lambda: Linear("op", (INPUT,), np.ones((2, 2), int)),
        "input must be a vector (use Flatten), not 2x4x5 u4",
    ),
    broken(
        VECTOR,
        lambda: Linear("op", (INPUT,), np.ones(3, int)),
        "weight must be [outputs, inputs], not [3]",
    ),
    broken(
        VECTOR,
        lambda: Linear("op", (INPUT,), np.ones((1, 2), int)),
        "weight is for 2 inputs, input has 3",
    ),
    broken(
        VECTOR,
        lambda: Linear("op", (INPUT,), np.full((1, 3), 2), Alphabet("ternary")),
        "weight has values outside alphabet ternary",
    ),
    broken(
        SOURCE,
        lambda: MaxPool2d("op", (INPUT,), (5, 2), (2, 2)),
        "kernel [5, 2] with pad [0, 0] does not fit input 4x5",
    ),
    broken(
        SOURCE,
        lambda: AvgPool2d("op", (INPUT,), (2, 2), (2, 0)),
        "stride must be two integers >= 1, not (2, 0)",
    ),
    broken(
        SOURCE,
        lambda: ArgMax("op", (INPUT,)),
        "input must be a vector (use Flatten), not 2x4x5 u4",
    ),
    broken(
        SOURCE,
        lambda: requantize(multiplier=np.ones(3, int)),
        "multiplier must be [2], not [3]",
    ),
    broken(SOURCE, lambda: requantize(bias=np.zeros((2, 1), int)), "bias must be [2], not [2, 1]"),
    broken(SOURCE, lambda: requantize(shift=63), "shift must be 0..62, not 63"),
    broken(SOURCE, lambda: requantize(shift=-1), "shift must be 0..62, not -1"),
    broken(SOURCE, lambda: requantize(shift=1.0), "shift must be 0..62, not 1.0"),
    broken(SOURCE, lambda: requantize(lo=4, hi=3), "lo must be <= hi, not 4 and 3"),
    broken(SOURCE, lambda: requantize(lo=0.0), "lo must be <= hi, not 0.0 and 15"),
    broken(
        SOURCE,
        lambda: requantize(multiplier=np.array([1, 1 << 60])),
        "x * multiplier + bias spans 0..17293822569102704640, more than 63 bits",
    ),
    broken(
        SOURCE,
        lambda: requantize(lo=-1, hi=1 << 31),
        "lo..hi = -1..2147483648 needs more than 32 bits",
    ),
    broken(
        SOURCE,
        lambda: Conv2d("op", ("input", "input"), np.ones((1, 2, 1, 1), int)),
        "takes 1 input(s), not 2",
    ),
]


@pytest.mark.parametrize(("source", "make", "text"), OP_RULES)
def test_rules_of_ops(source: TensorType, make: Callable[[], Op], text: str) -> None:
    with pytest.raises(NetworkError) as caught:
        Network("n", source, (make(),))
    assert str(caught.value) == f"op 'op': {text}"
    assert caught.value.op == "op"


def test_add_needs_one_shape() -> None:
    pool = MaxPool2d("a", (INPUT,), (2, 2), (2, 2))
    with pytest.raises(NetworkError) as caught:
        Network("n", SOURCE, (pool, Add("b", (INPUT, "a"))))
    assert str(caught.value) == "op 'b': inputs must have one shape, not 2x4x5 u4 and 2x2x2 u4"


GRAPH_RULES = [
    ((), "a network needs at least one op"),
    *(
        ((Flatten(name, (INPUT,)),), f"op names must be {OP_RULE}, not '{shown}'")
        for name, shown in (
            ("a b", "a b"),
            ("", ""),
            ("9a", "9a"),
            ("é", "é"),
            ("a$", "a$"),
            ("a\n", "a\\n"),
            (65 * "a", 65 * "a"),
            (5000 * "a", f"{100 * 'a'}[...]{50 * 'a'}"),
        )
    ),
    ((Flatten(3, (INPUT,)),), f"op names must be {OP_RULE}, not int"),
    ((Flatten(INPUT, (INPUT,)),), "op 'input': name is used twice"),
    ((Flatten("a", (INPUT,)), Flatten("a", ("a",))), "op 'a': name is used twice"),
    ((Flatten("a", ("b",)),), "op 'a': reads 'b', which no earlier op yields"),
    ((Flatten("a", ("a",)),), "op 'a': reads 'a', which no earlier op yields"),
    (
        (Flatten("a", (INPUT,)), Flatten("b", (INPUT,))),
        "op 'a': its result is never read (only the last op is the output)",
    ),
]


@pytest.mark.parametrize(("ops", "text"), GRAPH_RULES)
def test_rules_of_the_graph(ops: tuple[Op, ...], text: str) -> None:
    with pytest.raises(NetworkError) as caught:
        Network("n", SOURCE, ops)
    assert str(caught.value) == text


TYPE_RULES = [
    ((0, 1, 1, 4), "tensor channels must be a positive integer, not 0"),
    ((1, -1, 1, 4), "tensor height must be a positive integer, not -1"),
    ((1, 1, 2.0, 4), "tensor width must be a positive integer, not 2.0"),
    ((1, 1, 1, 0), "tensor bits must be 1..32, not 0"),
    ((1, 1, 1, 33), "tensor bits must be 1..32, not 33"),
    ((1, 1, True, 4), "tensor width must be a positive integer, not True"),
    ((1, 1, 1, 4, 1), "tensor signed must be a truth value, not 1"),
]


@pytest.mark.parametrize(("values", "text"), TYPE_RULES)
def test_rules_of_types(values: tuple[Any, ...], text: str) -> None:
    with pytest.raises(NetworkError) as caught:
        TensorType(*values)
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["int1", "int9", "pow2_1", "pow2_5", "Binary", "", "float", 4])
def test_rules_of_alphabets(name: Any) -> None:
    with pytest.raises(NetworkError) as caught:
        Alphabet(name)
    expected = f"alphabet must be binary, ternary, int2..int8 or pow2_2..pow2_4, not {name!r}"
    assert str(caught.value) == expected


def test_values_of_alphabets() -> None:
    assert Alphabet("binary").values == (-1, 1)
    assert Alphabet("ternary").values == (-1, 0, 1)
    assert Alphabet("int3").values == (-4, -3, -2, -1, 0, 1, 2, 3)
    assert Alphabet("pow2_2").values == (-2, -1, 1, 2)
    assert Alphabet("pow2_3").values == (-8, -4, -2, -1, 1, 2, 4, 8)
    assert Alphabet("pow2_4").values[-1] == 128
    assert not Alphabet("pow2_3").contains(np.array([0]))
    assert Alphabet("pow2_3").contains(np.array([0]), zero=True)


@pytest.mark.parametrize(
    ("lo", "hi", "expected"),
    [
        (0, 0, (1, False)),
        (0, 1, (1, False)),
        (0, 255, (8, False)),
        (0, 256, (9, False)),
        (5, 7, (3, False)),
        (-1, 0, (1, True)),
        (-1, 1, (2, True)),
        (-128, 127, (8, True)),
        (-129, 0, (9, True)),
        (-7, -5, (4, True)),
        (-1, -1, (1, True)),
        (-8, -8, (4, True)),
        (-(1 << 31), -(1 << 31), (32, True)),
    ],
)
def test_narrowest_width(lo: int, hi: int, expected: tuple[int, bool]) -> None:
    assert bits_for(lo, hi) == expected
    bits, signed = expected
    t = TensorType(1, 1, 1, bits, signed)
    assert t.lo <= lo
    assert hi <= t.hi


ENDS = st.one_of(
    st.integers(-300, 300),
    st.builds(
        lambda n, d, s: s * (1 << n) + d,
        st.integers(0, 70),
        st.integers(-1, 1),
        st.sampled_from((-1, 1)),
    ),
)


@given(ENDS, ENDS)
def test_width_is_the_narrowest(a: int, b: int) -> None:
    lo, hi = min(a, b), max(a, b)
    bits, signed = bits_for(lo, hi)
    assert signed == (lo < 0)

    def holds(width: int) -> bool:
        values = range(-(1 << width) // 2, (1 << width) // 2) if signed else range(1 << width)
        return lo in values and hi in values

    assert holds(bits)
    assert bits == 1 or not holds(bits - 1)


@pytest.mark.parametrize(("lo", "text"), [(-1, "s1"), (-(1 << 31), "s32")])
def test_constants_have_the_narrowest_type(lo: int, text: str, tmp_path: Path) -> None:
    network = Network("n", SOURCE, (requantize(lo=lo, hi=lo),))
    t = network.output_type
    assert str(t) == f"2x4x5 {text}"
    assert t.lo == lo
    save(network, tmp_path / "n.hwnet")
    assert load(tmp_path / "n.hwnet").output_type == t


@pytest.mark.parametrize(
    ("kernel", "bits"), [((1, 1), 0), ((1, 2), 1), ((2, 2), 2), ((1, 5), 3), ((3, 3), 4)]
)
def test_width_of_a_tap(kernel: tuple[int, int], bits: int) -> None:
    """As many bits as tell the positions apart, in the network's description and in the store."""
    taps = kernel[0] * kernel[1]
    assert tap_bits(taps) == bits
    assert 2**bits >= taps
    assert bits == 0 or 2 ** (bits - 1) < taps
    op = MuxConv2d("c", (INPUT,), np.full((3, 2), taps - 1), np.ones((3, 2), int), kernel)
    network = Network("n", SOURCE, (op,))
    (stage,) = build_pipeline(network).stages
    store = weight_store(stage)
    # The tap, and above it the sign, which is 0.
    assert (store.bits, set(store_image(stage, "weight"))) == (bits + 1, {taps - 1})
    assert _describe_op(network, "c")["weight_bits"] == 6 * (bits + 1)
    assert TapMemory(taps).bits == bits


def test_bits_for_needs_a_range() -> None:
    with pytest.raises(ValueError, match="lo must be <= hi, not 2 > 1"):
        bits_for(2, 1)


INFERRED = [
    (mux(weight=np.array([[1, -1], [1, 1], [-1, -1]])), "3x4x5 s6"),  # -30..30
    (mux(weight=np.ones((3, 2), int), stride=(2, 2)), "3x2x3 u5"),  # 0..30
    (conv(), "4x4x5 u9"),  # 18 * 15 = 270
    (MaxPool2d("op", (INPUT,), (2, 2), (2, 2)), "2x2x2 u4"),
    (AvgPool2d("op", (INPUT,), (3, 3), (1, 1)), "2x2x3 u8"),  # 9 * 15 = 135
    (GlobalMaxPool("op", (INPUT,)), "2x1x1 u4"),
    (GlobalAvgPool("op", (INPUT,)), "2x1x1 u9"),  # 20 * 15 = 300
    (Flatten("op", (INPUT,)), "40x1x1 u4"),
    (requantize(lo=-8, hi=7), "2x4x5 s4"),
]


@pytest.mark.parametrize(("op", "expected"), INFERRED)
def test_inferred_types(op: Op, expected: str) -> None:
    assert str(Network("n", SOURCE, (op,)).output_type) == expected


def test_argmax_of_n_classes_counts_to_n_minus_1() -> None:
    t = TensorType(17, 1, 1, 4)
    assert str(Network("n", t, (ArgMax("op", (INPUT,)),)).output_type) == "1x1x1 u5"


def test_accumulators_bound_partial_sums() -> None:
    """-15 + 15: the total is 0..0 for equal pixels, yet a partial sum may reach both ends."""
    op = mux(weight=np.array([[1, -1]]), tap=np.zeros((1, 2), int))
    assert str(Network("n", SOURCE, (op,)).output_type) == "1x4x5 s5"


def test_arrays_are_frozen_copies() -> None:
    weight = np.ones((3, 2), np.int8)
    op = mux(weight=weight)
    weight[:] = -1
    assert (op.weight == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        op.weight[0, 0] = 2


def test_lookup() -> None:
    network = Network("n", SOURCE, (Flatten("a", (INPUT,)), ArgMax("b", ("a",))))
    assert network.output == "b"
    assert network["a"] is network.ops[0]
    assert [op.name for op in network.consumers("a")] == ["b"]
    assert list(network) == list(network.ops)
    with pytest.raises(KeyError):
        network["c"]


INPUT_RULES = [
    (np.zeros((1, 2, 4, 4), int), "input must be [images, 2, 4, 5], not [1, 2, 4, 4]"),
    (np.zeros((2, 4), int), "input must be [images, 2, 4, 5], not [2, 4]"),
    (np.zeros((1, 2, 4, 5)), "input must hold integers, not float64"),
    (np.full((1, 2, 4, 5), 16), "input values must be 0..15, not 16..16"),
    (np.full((1, 2, 4, 5), -1), "input values must be 0..15, not -1..-1"),
]


@pytest.mark.parametrize(("x", "text"), INPUT_RULES)
def test_rules_of_images(x: np.ndarray, text: str) -> None:
    network = Network("n", SOURCE, (Flatten("a", (INPUT,)),))
    with pytest.raises(NetworkError) as caught:
        evaluate(network, x)
    assert str(caught.value) == text


def test_one_image_needs_no_leading_axis() -> None:
    network = Network("n", SOURCE, (Flatten("a", (INPUT,)),))
    assert evaluate(network, np.zeros((2, 4, 5), np.uint8))["a"].shape == (1, 40, 1, 1)


@pytest.mark.parametrize(
    ("name", "shown"), [("a\nb", "'a\\nb'"), ("\u2028", "'\\u2028'"), (3, "int"), (201 * "x", None)]
)
def test_names_of_networks(name: Any, shown: str | None) -> None:
    with pytest.raises(NetworkError) as caught:
        Network(name, SOURCE, (Flatten("a", (INPUT,)),))
    start = f"a network's name must be {LINE_RULE}, not "
    assert str(caught.value).startswith(start)
    assert shown is None or str(caught.value) == start + shown


@pytest.mark.parametrize("name", ["", "naïve [/red] <b> `x` // \\", 200 * "x"])
def test_names_that_networks_may_have(name: str) -> None:
    assert Network(name, SOURCE, (Flatten("a", (INPUT,)),)).name == name

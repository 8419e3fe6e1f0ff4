"""Unknown values where nothing counts at the input never reach the output; in Icarus, four-state.

Verilator knows no unknown values, so without Icarus nothing here can be shown, and is skipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hwsim.accelerator import DeadlockError, Fold, Pipeline, build_pipeline, simulate
from hwsim.accelerator.beats import pack_bits, unpack_bits, valid_bits
from hwsim.errors import MappingError
from hwsim.network import (
    Add,
    Alphabet,
    ArgMax,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Op,
    TensorType,
    evaluate,
)
from hwsim.rtl.accelerator import Accelerator
from hwsim.rtl.verilog import to_verilog
from hwsim.testing import (
    Limits,
    extreme_network,
    random_depths,
    random_folding,
    random_input,
    random_network,
)

pytestmark = [
    pytest.mark.cosim,
    pytest.mark.skipif(
        shutil.which("iverilog") is None,
        reason="needs a four-state simulator: install the package iverilog",
    ),
]

FRAMES = 2
BENCH = """
module bench;
  reg clk = 0, rst = 1, valid = 0;
  reg [IN-1:0] beats [0:BEATS-1];
  reg [IN-1:0] payload = {IN{1'bx}};
  wire ready, out_valid;
  wire [OUT-1:0] out;
  integer offered = 0, cycle = 0, taken = 0;
  accelerator dut(.clk(clk), .rst(rst), .i__payload(payload), .i__valid(valid), .i__ready(ready),
    .o__payload(out), .o__valid(out_valid), .o__ready(1'b1));
  always #5 clk = ~clk;
  initial $readmemb("beats.txt", beats);
  always @(negedge clk) begin
    // Every third cycle nothing is offered, and nothing is known on the lines of the payload.
    rst <= cycle < 2;
    valid <= cycle >= 2 && cycle % 3 != 0 && offered < BEATS;
    payload <= cycle >= 2 && cycle % 3 != 0 && offered < BEATS ? beats[offered] : {IN{1'bx}};
    cycle <= cycle + 1;
    if (taken == WANTED) $finish;
    if (cycle > 100000) begin $display("late"); $finish; end
  end
  always @(posedge clk) if (!rst) begin
    if ((valid & ready) === 1'b1) offered <= offered + 1;
    if (out_valid !== 1'b0) begin $display("%b", out); taken <= taken + 1; end
  end
endmodule
"""


def bits_to_text(bits: np.ndarray, known: np.ndarray) -> str:
    """Rows of 0, 1 and x, the highest bit first; x where ``known`` is 0."""
    digits = np.where(known == 1, bits.astype(str), "x")[:, ::-1]
    return "".join("".join(row) + "\n" for row in digits)


def unknowns(pipeline: Pipeline) -> int:
    """Bits of one frame at the input that carry no channel."""
    return int((valid_bits(pipeline.input) == 0).sum())


def outputs(pipeline: Pipeline, images: np.ndarray, folder: Path) -> np.ndarray:
    """What leaves the Verilog when all that does not count is unknown at its input.

    Asserts that every bit of the output that carries a channel is known.
    """
    x, y = pipeline.input, pipeline.output
    beats, wanted = len(images) * x.frame_beats, len(images) * y.frame_beats
    known = np.tile(valid_bits(x), (len(images), 1))
    (folder / "beats.txt").write_text(bits_to_text(pack_bits(x, images), known))
    text = to_verilog(Accelerator(pipeline=pipeline), "accelerator")
    (folder / "accelerator.v").write_text(text)
    bench = BENCH
    sizes = {"IN": x.bits, "OUT": y.bits, "BEATS": beats, "WANTED": wanted}
    for name, size in sizes.items():
        bench = re.sub(rf"\b{name}\b", str(size), bench)
    (folder / "bench.v").write_text(bench)
    subprocess.run(
        ["iverilog", "-g2005", "-o", "bench.vvp", "bench.v", "accelerator.v"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    done = subprocess.run(
        ["vvp", "-n", "bench.vvp"], cwd=folder, check=True, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if re.fullmatch("[01xz]+", line)]
    assert len(lines) == wanted, done.stdout[-500:]
    digits = np.array([list(line)[::-1] for line in lines])
    counts = np.tile(valid_bits(y), (len(images), 1)) == 1
    assert np.isin(digits[counts], ["0", "1"]).all()
    return unpack_bits(y, (digits == "1").astype(np.uint8))


def compare(pipeline: Pipeline, folder: Path, seed: int = 0) -> None:
    network = pipeline.network
    images = random_input(network, seed, FRAMES)
    expected = evaluate(network, images)[network.output]
    folder.mkdir(exist_ok=True)
    assert np.array_equal(outputs(pipeline, images, folder).reshape(expected.shape), expected)


def ops(kind: str, rng: np.random.Generator) -> tuple[Op, ...]:
    """Readers of an input of 5 channels, 3 x 4 pixels."""
    int4 = Alphabet("int4")

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-8, 8, shape)

    if kind == "mux":
        tap = rng.integers(0, 9, (3, 5))
        return (MuxConv2d("y", ("input",), tap, weights(3, 5), (3, 3), (1, 1), (1, 1), int4),)
    if kind == "pointwise":
        return (Conv2d("y", ("input",), weights(3, 5, 1, 1), alphabet=int4),)
    if kind == "depthwise":
        weight = weights(5, 1, 3, 3)
        return (Conv2d("y", ("input",), weight, pad=(1, 1), groups=5, alphabet=int4),)
    if kind == "linear":
        return (Flatten("f", ("input",)), Linear("y", ("f",), weights(3, 60), int4))
    if kind == "argmax":
        return (Flatten("f", ("input",)), ArgMax("y", ("f",)))
    pool = MaxPool2d("p", ("input",), (1, 1), (1, 1))
    conv = Conv2d("c", ("input",), weights(5, 5, 3, 3), pad=(1, 1), alphabet=int4)
    return pool, conv, Add("y", ("p", "c"))


KINDS = (
    ("mux", 2),
    ("pointwise", 3),
    ("depthwise", 2),
    ("linear", 3),
    ("argmax", 2),
    ("fork", 2),
)


@pytest.mark.parametrize(("kind", "lanes"), KINDS)
def test_unused_lanes_reach_no_output(kind: str, lanes: int, tmp_path: Path) -> None:
    network = Network("n", TensorType(5, 3, 4, 3, True), ops(kind, np.random.default_rng(1)))
    first = next(op.name for op in network.ops if not isinstance(op, Flatten))
    folding = {first: Fold(1, lanes)}
    if kind == "fork":
        folding |= {"c": Fold(2, 3), "y": Fold(1, 4)}
    pipeline = build_pipeline(network, folding, 200)
    assert unknowns(pipeline) > 0
    compare(pipeline, tmp_path)


def test_unknown_values_reach_the_output_where_nothing_stops_them(tmp_path: Path) -> None:
    network = Network("n", TensorType(5, 3, 4, 3, True), ops("mux", np.random.default_rng(1)))
    pipeline = build_pipeline(network, {"y": Fold(1, 2)}, 200)
    images = random_input(network, 0, FRAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Accelerator, "_known", lambda self, m: self.i.payload)
        with pytest.raises(AssertionError):
            outputs(pipeline, images, tmp_path)


def usual_network(seed: int) -> Network:
    return random_network(seed, Limits(channels=6, size=5))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("draw", [usual_network, extreme_network])
def test_random_networks(draw: Callable[[int], Network], seed: int, tmp_path: Path) -> None:
    network, rng = draw(seed), np.random.default_rng(seed)
    try:
        pipeline = random_depths(network, random_folding(network, rng), rng)
    except MappingError:
        with pytest.raises(MappingError):
            build_pipeline(network)
        return
    try:
        simulate(pipeline, FRAMES)
    except DeadlockError:
        pipeline = pipeline.with_depths({fifo.name: 300 for fifo in pipeline.fifos})
    compare(pipeline, tmp_path, seed)

"""Legal names of ops that meet the names of everything that hwsim, Python and Verilog have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwsim.names import LONGEST_OP, is_op_name
from hwsim.network import INPUT, Network

FIXED = (
    *("source", "sink", "fork", "Source", "SINK", "inputs", "output", "x", "X", "a", "A", "b", "c"),
    *("fifo", "fifo_x", "stage", "stage_x", "resize_x", "x_b", "x__x", "__a", "a__", "_", "__"),
    *(
        "weight",
        "window",
        "constants",
        "accumulator",
        "requantize",
        "table",
        "weights",
        "memory",
        "control",
    ),
    *(
        "table",
        "control",
        "busy",
        "blocked",
        "levels",
        "clk",
        "rst",
        "i0",
        "o0",
        "o",
        "i__payload",
        "o__ready",
        "x_0",
    ),
    *("module", "endmodule", "wire", "reg", "input_", "always", "begin", "end", "case", "initial"),
    *("class", "lambda", "def", "import", "None", "self", "print", "signal", "entity", "process"),
    *(
        "shape",
        "dtype",
        "T",
        "size",
        "min",
        "max",
        "name",
        "op",
        "inputs_",
        "bank_0_0",
        "x__DOT__y",
    ),
    *(
        "accelerator",
        "bench",
        "top",
        "x_control",
        "stage_x_control",
        "weight_word",
        "product_0",
        "m" * LONGEST_OP,
    ),
)


def nasty_names(network: Network, rng: np.random.Generator) -> dict[str, str]:
    """A new name for each op: from ``FIXED``, or made of the new names of other ops."""
    made: list[str] = []
    free = [str(name) for name in rng.permutation(FIXED)]
    for _ in network.ops:
        wishes = [free.pop()]
        if made and rng.random() < 0.6:
            a, b = (str(v) for v in rng.choice(made, 2))
            wishes += [f"resize_{a}", f"{a}_b", f"{a}__{b}", f"{b}__resize_{a}", f"fifo_{a}"]
            wishes += [f"{INPUT}__{a}", f"stage_{a}", f"{a}_control", f"{a}_q", a.swapcase()]
            wishes = wishes[1:] if rng.random() < 0.9 else wishes
        open_ = [n for n in wishes if n not in made and n != INPUT and is_op_name(n)]
        made.append(str(rng.choice(open_)) if open_ else free.pop())
    return dict(zip((op.name for op in network.ops), made, strict=True))


def renamed(network: Network, names: Mapping[str, str]) -> Network:
    """``network`` with its ops called ``names[old name]``; those left out keep theirs."""
    ops = tuple(
        replace(
            op,
            name=names.get(op.name, op.name),
            inputs=tuple(names.get(name, name) for name in op.inputs),
        )
        for op in network.ops
    )
    return Network(network.name, network.input, ops, network.notes)

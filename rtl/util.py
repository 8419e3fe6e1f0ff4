"""Small helpers shared by all components: index shapes, lanes, and the pipeline register chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned

from hwsim.accelerator.timing import TREE_LEVELS_PER_REGISTER
from hwsim.network import TensorType


def index(count: int) -> Shape:
    """Shape of a counter over ``0 .. count - 1``; at least one bit wide."""
    return unsigned(max(1, (count - 1).bit_length()))


def element(tensor: TensorType) -> Shape:
    """Shape of one value of a tensor."""
    return signed(tensor.bits) if tensor.signed else unsigned(tensor.bits)


def lanes_of(beat: Value, count: int, shape: Shape) -> list[Value]:
    """The ``count`` lanes of a beat, each read in ``shape``."""
    width = shape.width
    lanes = [beat[i * width : (i + 1) * width] for i in range(count)]
    return [lane.as_signed() if shape.signed else lane for lane in lanes]


def named(m: Module, name: str, value: Value, shape: Shape | None = None) -> Signal:
    """A combinational signal that holds ``value``."""
    signal = Signal(Value.cast(value).shape() if shape is None else shape, name=name)
    m.d.comb += signal.eq(value)
    return signal


def choose(values: Sequence[Value], at: Value) -> Value:
    """``values[at]`` as a tree of two-input multiplexers, one level for each bit of ``at``.

    Its Verilog grows with the values, where that of an ``Array`` grows with their square; and no
    tool takes constants for the contents of a memory. ``at`` past the last value is not defined.
    """
    row = list(values)
    for bit in at[: (len(row) - 1).bit_length()]:
        pairs = zip(row[::2], row[1::2], strict=False)
        row = [a if a is b else Mux(bit, b, a) for a, b in pairs] + row[len(row) // 2 * 2 :]
    return row[0]


def table(words: Sequence[int], shape: Shape, at: Value) -> Value:
    """Word ``at`` of constants in the fabric; see ``choose``."""
    once = {word: Const(word, shape) for word in words}
    return choose([once[word] for word in words], at)


class Pipe:
    """A datapath that never stalls: control bits travel beside the data, register by register.

    ``latency`` counts the registers so far; ``self[name]`` is a control signal at the current
    depth and ``at(name, latency)`` at an earlier one.
    """

    def __init__(self, m: Module, **control: Value) -> None:
        self.m = m
        self.latency = 0
        self._history = {name: [value] for name, value in control.items()}

    def __getitem__(self, name: str) -> Value:
        return self._history[name][-1]

    def at(self, name: str, latency: int) -> Value:
        return self._history[name][latency]

    def advance(self) -> None:
        """Move on by one register."""
        self.latency += 1
        for name, values in self._history.items():
            delayed = Signal(Value.cast(values[-1]).shape(), name=f"{name}_{self.latency}")
            self.m.d.sync += delayed.eq(values[-1])
            values.append(delayed)

    def register(self, values: Sequence[Value], name: str) -> list[Value]:
        """Put ``values`` into registers and move on."""
        out = []
        for i, value in enumerate(values):
            register = Signal(Value.cast(value).shape(), name=f"{name}_{i}", reset_less=True)
            self.m.d.sync += register.eq(value)
            out.append(register)
        self.advance()
        return out

    def reduce(
        self,
        trees: Sequence[Sequence[Value]],
        combine: Callable[[Value, Value], Value],
        name: str,
    ) -> list[Value]:
        """Reduce each of the equally long ``trees`` to one value.

        A register follows every TREE_LEVELS_PER_REGISTER levels and the last one, so that the
        latency is ``tree_registers(len(tree))``.
        """
        rows = [list(tree) for tree in trees]
        level = 0
        while len(rows[0]) > 1:
            level += 1
            for t, row in enumerate(rows):
                pairs = [combine(a, b) for a, b in zip(row[::2], row[1::2], strict=False)]
                rows[t] = pairs + row[len(pairs) * 2 :]
            if level % TREE_LEVELS_PER_REGISTER == 0 or len(rows[0]) == 1:
                width = len(rows[0])
                flat = self.register([v for row in rows for v in row], f"{name}_level{level}")
                rows = [flat[t * width : (t + 1) * width] for t in range(len(rows))]
            else:
                rows = [
                    [named(self.m, f"{name}_l{level}_{t}_{i}", v) for i, v in enumerate(row)]
                    for t, row in enumerate(rows)
                ]
        return [row[0] for row in rows]


def pack(values: Sequence[Value], shape: Shape, m: Module, name: str) -> Value:
    """One beat from lane values, each taken in ``shape``."""
    return Cat(*(named(m, f"{name}_{i}", v, shape) for i, v in enumerate(values)))

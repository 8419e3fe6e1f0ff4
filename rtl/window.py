"""Window memory: a ring of rows in kernel-many banks, from which any window is read at once."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value

from hwsim.rtl.control import WindowControl
from hwsim.rtl.memory import DesignMemory
from hwsim.rtl.util import Pipe, index, named


def window_taps(
    m: Module, control: WindowControl, data: Value, pipe: Pipe, memory: DesignMemory
) -> list[Value]:
    """Write accepted beats and read the window of each step.

    ``data`` is the beat being accepted. Returns one beat per tap, row by row, zero outside the
    image; valid ``window_read(kernel)`` cycles after the step's start, as far as ``pipe``
    advances.

    Writes and reads both pass through one register before they reach the memories, which takes
    the controller's decisions off the address lines and leaves the order of accesses as it was.
    """
    timing = control.timing
    kh, kw = timing.kernel
    width = len(data)
    row_size = timing.bank_columns * timing.beats
    address = index(timing.bank_words)
    rows_held = timing.row_slots // kh
    starts = Array([Const(n * row_size, address) for n in range(rows_held)])
    accept = named(m, "accept", control.valid & control.ready)
    w_addr = Signal(address)
    w_data = Signal(width, reset_less=True)
    m.d.sync += [
        w_addr.eq(starts[control.w_slot] + control.w_at + control.w_beat),
        w_data.eq(data),
    ]
    pipe.advance()
    cells = memory.place(m, starts=pipe["start"])
    banks: list[list[Value]] = []
    for y in range(kh):
        row: list[Value] = []
        slot = Signal(index(rows_held), name=f"r_slot_{y}")
        if rows_held > 1:
            m.d.comb += slot.eq(control.r_slot + (control.r_bank_row > y))
        for x in range(kw):
            here = (control.w_bank_row == y) & (control.w_bank_col == x)
            w_en = Signal(name=f"w_en_{y}_{x}")
            r_addr = Signal(address, name=f"r_addr_{y}_{x}")
            m.d.sync += [
                w_en.eq(accept & here),
                r_addr.eq(
                    starts[slot]
                    + control.r_at
                    + Mux(control.r_bank_col > x, timing.beats, 0)
                    + control.n
                ),
            ]
            bank = y * kw + x
            cells.write(w_addr, w_data, w_en, bank)
            row.append(cells.read(r_addr, bank=bank))
        banks.append(row)
    pipe.advance()
    if kh > 1:
        top = pipe["bank_row"]
        turned = [
            Array([banks[(r + dy) % kh][x] for r in range(kh)])[top]
            for dy in range(kh)
            for x in range(kw)
        ]
        flat = pipe.register(
            [_where(pipe["row_valid"], n // kw, v) for n, v in enumerate(turned)], "row"
        )
        banks = [flat[dy * kw : (dy + 1) * kw] for dy in range(kh)]
    if kw > 1:
        left = pipe["bank_col"]
        turned = [
            Array([banks[dy][(c + dx) % kw] for c in range(kw)])[left]
            for dy in range(kh)
            for dx in range(kw)
        ]
        flat = pipe.register(
            [_where(pipe["col_valid"], n % kw, v) for n, v in enumerate(turned)], "tap"
        )
        banks = [flat[dy * kw : (dy + 1) * kw] for dy in range(kh)]
    return [value for row in banks for value in row]


def _where(valid: Value, n: int, value: Value) -> Value:
    """``value`` where bit ``n`` of ``valid`` is set, else zero."""
    return Mux(valid[n], value, 0)


def window_control_bits(control: WindowControl) -> dict[str, Value]:
    """What ``window_taps`` needs to find in its pipe."""
    return {
        "bank_row": control.r_bank_row,
        "bank_col": control.r_bank_col,
        "row_valid": control.row_valid,
        "col_valid": control.col_valid,
    }

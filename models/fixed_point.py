"""From real multipliers to the integers of a ``Requantize``, with a stated precision.

All is done in fractions, so that the bounds below hold exactly. Let ``v(x) = x * multiplier +
bias + 1/2`` be the exact value of a channel, ``v'(x)`` that of its integers, and ``[lo, hi + 1]``
what the clamp lets pass. For every x in the channel's range

    |clamp(v'(x)) - clamp(v(x))| <= tolerance(lo, hi, bits) = (hi - lo + 1) / 2**(bits + 1),

so that an output differs only where v(x) is that near to a whole number. It comes to ``bits``
significant bits of each channel's multiplier where sums reach over the whole clamp, and to
fewer where less is needed:

- A channel that yields one and the same output for its whole range (a pruned filter, a saturated
  channel) gets multiplier 0 and that output as its bias. It costs the others nothing.
- A multiplier above ``hi - lo + 2`` jumps over the clamp from one x to the next. It is replaced by
  that number with the one output in between left as it is, which changes no output.
- The rest share the coarsest shift that keeps the bound for each of them. The error of a rounded
  multiplier grows with the distance from where the line is right. The bias is chosen so that this
  is the middle of the x that the clamp lets pass; further away, outputs are saturated.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np

from hwsim.errors import NetworkError
from hwsim.network import bits_for

_SUM_BITS = 63
_HALF = Fraction(1, 2)


@dataclass(frozen=True)
class _Line:
    """``v(x) = slope * (x - centre) + middle``; ``reach``: how far from ``centre`` it matters."""

    slope: Fraction
    centre: Fraction
    middle: Fraction
    reach: Fraction

    def shift(self, tolerance: Fraction) -> int:
        """Coarsest shift at which the rounded line keeps ``tolerance``.

        Slope and middle are off by half a unit each, which makes ``(reach + 1) / 2`` units at the
        ends. A rounded slope must not be flatter than what it may be off by, or values beyond
        the ends would not saturate.
        """
        units = max((self.reach + 1) / (2 * tolerance), 1 / (2 * abs(self.slope)))
        return (ceil(units) - 1).bit_length()

    def integers(self, shift: int) -> tuple[int, int]:
        m = round(self.slope * (1 << shift))
        return m, round(self.middle * (1 << shift) - m * self.centre)


def tolerance(lo: int, hi: int, bits: int) -> Fraction:
    """By how much of an output step integers of ``bits`` significant bits may be off."""
    return Fraction(hi - lo + 1, 2 << bits)


def fixed_point(
    multiplier: np.ndarray,
    bias: np.ndarray,
    x_lo: np.ndarray,
    x_hi: np.ndarray,
    lo: int,
    hi: int,
    bits: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Integers (m, b, shift) with ``clamp((x * m + b) >> shift, lo, hi)`` equal to
    ``clamp(floor(x * multiplier + bias + 0.5), lo, hi)`` but for ``tolerance(lo, hi, bits)``.

    multiplier, bias: real, [channels]. x_lo, x_hi: integers [channels], the range of each
    channel's x; bits >= 1. Raises NetworkError naming the channel when a number is not finite, or
    when the precision asks for sums of more than 63 bits.
    """
    bad = np.flatnonzero(~(np.isfinite(multiplier) & np.isfinite(bias)))
    if bad.size:
        channel = int(bad[0])
        raise NetworkError(
            f"channel {channel}: multiplier {multiplier[channel]:g} and bias {bias[channel]:g} "
            "must be finite (did the training diverge?)"
        )
    lines = [
        _line(Fraction(float(a)), Fraction(float(b)) + _HALF, int(start), int(end), lo, hi)
        for a, b, start, end in zip(multiplier, bias, x_lo, x_hi, strict=True)
    ]
    allowed = tolerance(lo, hi, bits)
    shifts = [line.shift(allowed) if isinstance(line, _Line) else 0 for line in lines]
    shift = max(shifts)
    pairs = [
        line.integers(shift) if isinstance(line, _Line) else (0, line << shift) for line in lines
    ]
    x_bits, signed = bits_for(int(np.min(x_lo)), int(np.max(x_hi)))
    ends = (-(1 << (x_bits - 1)), (1 << (x_bits - 1)) - 1) if signed else (0, (1 << x_bits) - 1)
    sums = [[m * x + b for x in ends] for m, b in pairs]
    widths = [bits_for(min(pair), max(pair))[0] for pair in sums]
    widest = int(np.argmax(widths))
    if max(widths[widest], shift + 1) > _SUM_BITS:
        finest = int(np.argmax(shifts))
        raise NetworkError(
            f"channel {widest}: multiplier {multiplier[widest]:.3g} beside "
            f"{multiplier[finest]:.3g} of channel {finest} needs sums of {widths[widest]} bits "
            f"at {bits} significant bits; at most {_SUM_BITS} are allowed "
            "(lower model.multiplier_bits)"
        )
    m, b = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    return m, b, shift


def _line(a: Fraction, c: Fraction, start: int, end: int, lo: int, hi: int) -> _Line | int:
    """The line ``a * x + c`` for x in start..end, or the one output that it yields there."""
    outputs = [min(max(floor(a * x + c), lo), hi) for x in (start, end)]
    if outputs[0] == outputs[1]:
        return outputs[0]
    steepest = Fraction(hi - lo + 2)
    if abs(a) > steepest:
        # The last x (seen from the saturated side) that reaches lo; its neighbour does not.
        x = ceil((lo - c) / a) if a > 0 else floor((lo - c) / a)
        value = min(a * x + c, Fraction(hi + 1))
        a = steepest if a > 0 else -steepest
        c = value - a * x
    crossings = sorted(((lo - c) / a, (hi + 1 - c) / a))
    first, last = max(crossings[0], Fraction(start)), min(crossings[1], Fraction(end))
    centre = (first + last) / 2
    return _Line(a, centre, a * centre + c, (last - first) / 2)

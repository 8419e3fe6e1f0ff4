"""Fixed point: outputs of integers against exact fractions, over whole ranges of x."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.errors import NetworkError
from hwsim.models.fixed_point import fixed_point, tolerance


def convert(multipliers, biases, x_lo, x_hi, lo, hi, bits):
    """``fixed_point`` for lists; every channel has the range x_lo..x_hi."""
    count = len(multipliers)
    return fixed_point(
        np.array(multipliers, float),
        np.array(biases, float),
        np.full(count, x_lo),
        np.full(count, x_hi),
        lo,
        hi,
        bits,
    )


def differences(
    x: int, m: int, b: int, shift: int, value: Fraction, lo: int, hi: int
) -> tuple[int, Fraction]:
    """By how much the output and the clamped real value of one x differ from the exact ones."""
    output = min(max((x * m + b) >> shift, lo), hi)
    exact = min(max(math.floor(value), lo), hi)

    def clamped(v: Fraction) -> Fraction:
        return min(max(v, Fraction(lo)), Fraction(hi + 1))

    real = clamped(Fraction(x * m + b, 1 << shift)) - clamped(value)
    return abs(output - exact), abs(real)


def exact_value(multiplier: float, bias: float, x: int) -> Fraction:
    return Fraction(multiplier) * x + Fraction(bias) + Fraction(1, 2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([-1.0, 1.0]), st.floats(-9, 4.9), st.floats(-3, 3), st.booleans()
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 16),
    st.booleans(),
    st.integers(4, 24),
    st.integers(1, 1500),
    st.booleans(),
)
@settings(max_examples=60)
def test_every_x_is_within_the_tolerance(channels, out_bits, signed_out, bits, top, signed):
    """Multipliers from 1e-9 to 8e4, of both signs, beside zeros: every x of every channel."""
    lo, hi = (-(1 << (out_bits - 1)), (1 << (out_bits - 1)) - 1) if signed_out else (
        0, (1 << out_bits) - 1
    )  # fmt: skip
    multipliers = [0.0 if zero else sign * 10.0**power for sign, power, _, zero in channels]
    biases = [place * (hi - lo) for _, _, place, _ in channels]
    x_lo, x_hi = (-top if signed else 0), top
    m, b, shift = convert(multipliers, biases, x_lo, x_hi, lo, hi, bits)
    allowed = tolerance(lo, hi, bits)
    assert 0 <= shift <= 62
    step = max(1, (x_hi - x_lo) // 150)
    for channel, (multiplier, bias) in enumerate(zip(multipliers, biases, strict=True)):
        for x in [*range(x_lo, x_hi, step), x_hi]:
            value = exact_value(multiplier, bias, x)
            output, real = differences(x, int(m[channel]), int(b[channel]), shift, value, lo, hi)
            assert real <= allowed or output == 0
            if output:
                assert output <= math.ceil(allowed)
                assert min(value % 1, 1 - value % 1) <= allowed


def test_few_outputs_differ():
    """Of evenly spread sums, a share of at most twice the tolerance; a wider one differs more."""
    rng = np.random.default_rng(0)
    shares = {}
    for bits in (6, 12):
        wrong = total = 0
        for _ in range(8):
            multiplier, bias = float(rng.uniform(0.001, 0.02)), float(rng.uniform(-8, 8))
            m, b, shift = convert([multiplier], [bias], -2000, 2000, 0, 15, bits)
            for x in range(-2000, 2001, 3):
                value = exact_value(multiplier, bias, x)
                wrong += bool(differences(x, int(m[0]), int(b[0]), shift, value, 0, 15)[0])
                total += 0 <= value < 16
        shares[bits] = wrong / total
    assert shares[12] <= 2 * tolerance(0, 15, 12)
    assert 2 * tolerance(0, 15, 12) < shares[6] <= 2 * tolerance(0, 15, 6)


def test_the_shift_is_the_coarsest_that_keeps_the_bound():
    """One bit less, and the ends of the range may be off by more than is allowed."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        multiplier, bits = float(rng.uniform(0.001, 2)), int(rng.integers(4, 20))
        _, _, shift = convert([multiplier], [0.0], -(10**6), 10**6, 0, 15, bits)
        reach = 8 / multiplier  # half of the x between outputs 0 and 15
        assert (reach + 1) / 2 ** (shift + 1) <= float(tolerance(0, 15, bits)) * (1 + 1e-9)
        assert (reach + 1) / 2**shift > float(tolerance(0, 15, bits))


@pytest.mark.parametrize(("ratio", "bits"), [(1e2, 12), (1e4, 12), (1e6, 12), (1e9, 4)])
def test_a_large_multiplier_does_not_cost_a_small_one(ratio, bits):
    m, b, shift = convert([1.0, 1 / ratio], [0.0, 0.0], 0, int(2 * ratio), 0, 15, bits)
    x = int(ratio)
    assert (x * int(m[1]) + int(b[1])) >> shift == 1
    assert (x // 3 * int(m[1]) + int(b[1])) >> shift == 0
    assert [(k * int(m[0]) + int(b[0])) >> shift for k in range(16)] == list(range(16))


def test_channels_of_one_output_cost_nothing():
    """Pruned (sums are 0), saturated, and varying by less than a step."""
    alone = convert([0.01], [1.0], 0, 2000, 0, 15, 12)
    beside = fixed_point(
        np.array([0.01, 2e9, 1.0, 1e-12]),
        np.array([1.0, 3.4, 500.0, 2.0]),
        np.array([0, 0, 0, 0]),
        np.array([2000, 0, 2000, 2000]),
        0,
        15,
        12,
    )
    assert beside[2] == alone[2]
    assert (beside[0][0], beside[1][0]) == (alone[0][0], alone[1][0])
    assert beside[0][1:].tolist() == [0, 0, 0]
    assert (beside[1][1:] >> beside[2]).tolist() == [3, 15, 2]


@pytest.mark.parametrize("multiplier", [2.0**40, -(2.0**40), 17.0, -17.0, 17.5, 1e300])
@pytest.mark.parametrize("bias", [0.0, 0.3, -7.0, 14.6, 2.0**43, -(2.0**42) + 3])
def test_steep_multipliers_change_no_output(multiplier, bias):
    m, b, shift = convert([multiplier], [bias], -20, 20, 0, 15, 8)
    assert int(abs(m[0])) <= 17 << shift
    for x in range(-20, 21):
        value = exact_value(multiplier, bias, x)
        assert differences(x, int(m[0]), int(b[0]), shift, value, 0, 15)[0] == 0


@pytest.mark.parametrize("bits", [4, 12, 24])
@pytest.mark.parametrize("power", range(-12, 4))
def test_multipliers_at_and_beside_powers_of_two(bits, power):
    """The corner where a multiplier rounds up to the next power of two."""
    for multiplier in (2.0**power, np.nextafter(2.0**power, 0), np.nextafter(2.0**power, 9e9)):
        m, b, shift = convert([multiplier], [0.0], 0, 1 << 16, 0, 15, bits)
        assert int(m[0]) == 1 << (shift + power)
        for x in {max(0, int(k / 2.0**power) + d) for k in range(17) for d in (-1, 1)}:
            value = exact_value(multiplier, 0.0, x)
            output, real = differences(x, int(m[0]), int(b[0]), shift, value, 0, 15)
            assert real <= tolerance(0, 15, bits)
            assert not output or min(value % 1, 1 - value % 1) <= tolerance(0, 15, bits)


def test_shift_zero():
    m, b, shift = convert([8192.0], [0.0], 0, 3, -(1 << 15), (1 << 15) - 1, 12)
    assert (m.tolist(), b.tolist(), shift) == ([8192], [0], 0)
    m, b, shift = convert([0.0, 0.0], [3.0, -2.0], -5, 5, 0, 15, 12)
    assert (m.tolist(), b.tolist(), shift) == ([0, 0], [3, 0], 0)


def test_exact_bias_far_from_zero():
    """Sums far from 0 (x about a million) are as precise as those around it."""
    multiplier = 0.01 * math.sqrt(2)
    for centre in (0, 10**6):
        bias = 8 - centre * multiplier
        m, b, shift = convert([multiplier], [bias], -(1 << 20), 1 << 20, 0, 15, 12)
        wrong = [
            differences(x, int(m[0]), int(b[0]), shift, exact_value(multiplier, bias, x), 0, 15)[0]
            for x in range(centre - 1000, centre + 1001)
        ]
        assert sum(wrong) <= 2 * tolerance(0, 15, 12) * 2001


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(NetworkError, match=r"^channel 1: multiplier .* must be finite"):
        convert([1.0, bad], [0.0, 0.0], 0, 3, 0, 15, 12)
    with pytest.raises(NetworkError, match=r"^channel 0: multiplier 1 and bias .* must be finite"):
        convert([1.0, 1.0], [bad, 0.0], 0, 3, 0, 15, 12)


def test_precision_that_63_bits_cannot_hold_is_refused():
    top = (1 << 31) - 1
    line = (
        r"^channel 0: multiplier 0\.2 beside 5e-09 of channel 1 needs sums of \d\d bits at 24 "
        r"significant bits; at most 63 are allowed \(lower model\.multiplier_bits\)$"
    )
    with pytest.raises(NetworkError, match=line):
        convert([0.2, 5e-9], [0.0, 0.0], -top, top, 0, 15, 24)
    m, b, shift = convert([0.2, 5e-9], [0.0, 0.0], -top, top, 0, 15, 4)
    ends = [int(m[c]) * x + int(b[c]) for c in (0, 1) for x in (-top - 1, top)]
    assert max(abs(v) for v in ends) < 1 << 62

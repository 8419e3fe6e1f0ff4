"""What every protection of memory words must satisfy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from hwsim.lowvoltage.protection import Protection, ProtectionError
from hwsim.testing.cases import Cases, assert_same

_WORDS = 16
"""Random words of each try."""


class ProtectionConformance(Cases):
    """Derive from it, define ``protections``, and say in ``corrects`` what they promise."""

    argument = "protection"
    widths: tuple[int, ...] = (1, 2, 8, 11, 57, 64, 65)
    """Data bits of the words that are tried."""

    def protections(self) -> Mapping[str, Protection]:
        """The protections to be tested, by label."""
        raise NotImplementedError

    def corrects(self, protection: Protection, bits: int) -> np.ndarray:
        """The cells of which any single one may fail, and the word is read as it was stored.

        bool [bits + check bits], the data bits first. None of them unless it is overridden.
        """
        return np.zeros(bits + protection.check_bits(bits), bool)

    def cases(self) -> Iterable[tuple[str, Protection]]:
        return self.protections().items()

    def test_words_without_errors_read_as_stored(self, protection: Protection) -> None:
        for bits in self.widths:
            stored = _random(_WORDS, bits)
            kept, cells = stored.copy(), (_WORDS, bits + protection.check_bits(bits))
            read = protection.read(stored, np.ones(cells, np.uint8), np.zeros(cells, np.uint8))
            assert_same(f"{bits} bits", read, kept)
            assert_same(f"{bits} bits, as they were given", stored, kept)

    def test_words_do_not_depend_on_each_other(self, protection: Protection) -> None:
        for bits in self.widths:
            stored, cells = _random(_WORDS, bits), bits + protection.check_bits(bits)
            keep, flip = _random(_WORDS, cells, 1), _random(_WORDS, cells, 2)
            whole = protection.read(stored, keep, flip)
            assert whole.dtype == np.uint8
            for n in range(_WORDS):
                one = slice(n, n + 1)
                alone = protection.read(stored[one], keep[one], flip[one])
                assert_same(f"word {n} of {bits} bits", whole[one], alone)

    def test_single_errors_are_corrected_where_it_says_so(self, protection: Protection) -> None:
        """And nowhere else: of every other cell some word is read wrong."""
        for bits in self.widths:
            corrects = self.corrects(protection, bits)
            assert corrects.shape == (bits + protection.check_bits(bits),)
            stored = np.concatenate((_random(_WORDS, bits), np.ones((1, bits), np.uint8)))
            for cell, corrected in enumerate(corrects.tolist()):
                flip = np.zeros((len(stored), len(corrects)), np.uint8)
                flip[:, cell] = 1
                read = protection.read(stored, np.ones_like(flip), flip)
                if corrected:
                    assert_same(f"{bits} bits, cell {cell} fails", read, stored)
                else:
                    assert (read != stored).any(), f"{bits} bits: cell {cell} is corrected, too"

    def test_costs_are_those_of_its_check_bits(self, protection: Protection) -> None:
        for bits in self.widths:
            checks, gates = protection.check_bits(bits), protection.gates(bits)
            assert isinstance(checks, int)
            assert checks >= 0
            assert protection.storage(bits) == (bits + checks) / bits
            assert (gates.encode > 0) <= (checks > 0), f"{bits} bits: gates encode no check bit"
            assert min(gates.encode, gates.decode) >= 0

    def test_masks_of_other_shapes_are_refused(self, protection: Protection) -> None:
        for bits in self.widths:
            stored = _random(_WORDS, bits)
            wrong = np.ones((_WORDS, bits + protection.check_bits(bits) + 1), np.uint8)
            try:
                protection.read(stored, wrong, wrong)
            except ProtectionError:
                continue
            raise AssertionError(f"{bits} bits: masks that are too wide were accepted")


def _random(words: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (words, bits), np.uint8)

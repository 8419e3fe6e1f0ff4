"""Names: one rule for ops, one for text that is shown, and how text is made harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.names import is_line, is_op_name, printable, verilog_comment


@pytest.mark.parametrize("name", ["a", "_", "conv0_acc", "A9", "module", 64 * "x"])
def test_names_of_ops(name: str) -> None:
    assert is_op_name(name)


@pytest.mark.parametrize(
    "name", ["", "9a", "a b", "a-b", "é", "aé", "ａ", "a\n", "a$", 65 * "x", None, 3, b"a"]
)
def test_what_is_no_name_of_an_op(name: object) -> None:
    assert not is_op_name(name)


@pytest.mark.parametrize("text", ["", "my net", "naïve [/] <b> `x`", 200 * "x"])
def test_lines(text: str) -> None:
    assert is_line(text)


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\rb", "\u2028", "\u2029", "\x85", "\x0b", "\0", "\x1b[2J", "\u202e", "\t", "\ud800",
     201 * "x", None, 3],
)  # fmt: skip
def test_what_is_no_line(text: object) -> None:
    assert not is_line(text)


@given(st.text(st.characters(), max_size=300))
def test_comments_are_one_line_of_ascii(text: str) -> None:
    written = verilog_comment(text)
    assert all(" " <= c <= "~" for c in written)
    assert "`" not in written
    assert "\\" not in written.replace("\\u{", "")


def test_plain_comments_stay() -> None:
    assert verilog_comment("a 'net' // 3x3, 50 %") == "a 'net' // 3x3, 50 %"
    assert verilog_comment("é\n\\`") == "\\u{e9}\\u{a}\\u{5c}\\u{60}"


@given(st.text(st.characters(), max_size=300), st.integers(4, 100))
def test_what_the_terminal_gets_is_printable(text: str, most: int) -> None:
    assert printable(text, most).isprintable()
    assert not is_line(text) or printable(text) == text


def test_long_texts_are_cut_in_their_middle() -> None:
    assert printable(10 * "a" + 10 * "b", 8) == "aaaa[...]bb"

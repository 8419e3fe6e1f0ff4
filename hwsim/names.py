"""Names: their rules, and how to write them where a tool could take them for code.

Two rules. The name of an op is an ASCII identifier, because it becomes part of names in Verilog,
C++ and Python. The name of a network is one line of printable text, because it is only ever
shown. Both are bounded.

Text is made harmless where it is written, whatever it was checked for before:

======================  ==============================================================
Verilog, C++            ``verilog_comment``; nothing but op names gets out of comments
HTML, SVG               templates and ``markupsafe`` escape what they are given
YAML, JSON              written by their libraries alone, which quote
file names              never made of the name of a network or an op; experiments have
                        a rule of their own (``ExperimentConfig.name``)
terminal                ``printable``; the console reads no markup in plain text
======================  ==============================================================
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

LONGEST_OP = 64
LONGEST_LINE = 200
_OP = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{LONGEST_OP - 1}}}")

OP_RULE = f"ASCII identifiers of at most {LONGEST_OP} characters"
LINE_RULE = f"one line of at most {LONGEST_LINE} printable characters"


def is_op_name(name: object) -> bool:
    """Whether ``name`` may be the name of an op, and with it of a tensor."""
    return isinstance(name, str) and _OP.fullmatch(name) is not None


def is_line(text: object) -> bool:
    """Whether ``text`` may be the name of a network, or another text that people are shown.

    Printable is what Unicode says: no control characters, line breaks, or characters that change
    the direction of writing; the space is the only blank.
    """
    return isinstance(text, str) and len(text) <= LONGEST_LINE and text.isprintable()


def printable(text: str, most: int = LONGEST_LINE) -> str:
    """``text`` for a terminal: unprintable characters are escaped, a long middle is left out."""
    if len(text) > most:
        text = f"{text[: most // 2]}[...]{text[-most // 4 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def verilog_comment(text: str) -> str:
    """``text`` inside a comment of Verilog, C++ or Python that ends with its line.

    Printable ASCII stays but for backslash and backtick, which tools read as continued lines and
    macros; everything else is escaped as in Python.
    """
    return "".join(c if " " <= c <= "~" and c not in "\\`" else f"\\u{{{ord(c):x}}}" for c in text)


def _op_name(name: str) -> str:
    if not is_op_name(name):
        raise ValueError(f"names of ops are {OP_RULE}, not '{printable(name)}'")
    return name


def _line(text: str) -> str:
    if not is_line(text):
        raise ValueError(f"must be {LINE_RULE}, not '{printable(text)}'")
    return text


OpName = Annotated[str, AfterValidator(_op_name)]
"""For schemas: the name of an op."""
Line = Annotated[str, AfterValidator(_line)]
"""For schemas: one line of text for people, as the name of a network is."""

"""Verilog of unknown origin: read as data, and given to tools only if nothing in it can act.

A simulator executes what it reads: ``$system``, ``$c``, DPI imports, files that ``$readmemh`` or
an include name. ``plain`` lets through what describes hardware and refuses everything else. What
it returns holds no comment, so that no tool finds instructions in one.
"""

from __future__ import annotations

import re

from hwsim.errors import StorageError

ALLOWED_FUNCTIONS = frozenset({"$signed", "$unsigned"})
"""Words with a dollar sign that may be used; they only say how bits are read."""

_SYNTHESIS = """
    always assign begin case casex casez default defparam edge else end endcase endfunction
    endgenerate endmodule for function generate genvar if initial inout input integer
    localparam module negedge or output parameter posedge reg signed supply0 supply1 tri
    unsigned wire
"""
_OTHERS = """
    accept_on alias always_comb always_ff always_latch and assert assume automatic before bind
    bins binsof bit break buf bufif0 bufif1 byte cell chandle checker class clocking cmos
    config const constraint context continue cover covergroup coverpoint cross deassign design
    disable dist do endchecker endclass endclocking endconfig endgroup endinterface endpackage
    endprimitive endprogram endproperty endsequence endspecify endtable endtask enum event
    eventually expect export extends extern final first_match force foreach forever fork
    forkjoin global highz0 highz1 iff ifnone ignore_bins illegal_bins implements implies
    import incdir include inside instance int interconnect interface intersect join join_any
    join_none large let liblist library local logic longint macromodule matches medium modport
    nand nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null package packed
    pmos primitive priority program property protected pull0 pull1 pulldown pullup
    pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence rcmos real
    realtime ref reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1
    s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal
    showcancelled small soft solve specify specparam static string strong strong0 strong1
    struct super sync_accept_on sync_reject_on table tagged task this throughout time
    timeprecision timeunit tran tranif0 tranif1 tri0 tri1 triand trior trireg type typedef
    union unique unique0 until until_with untyped use uwire var vectored virtual void wait
    wait_order wand weak weak0 weak1 while wildcard with within wor xnor xor
"""

ALLOWED_KEYWORDS = frozenset(_SYNTHESIS.split())
"""Keywords of Verilog that may be used: what synthesis knows."""

KEYWORDS = ALLOWED_KEYWORDS | frozenset(_OTHERS.split())
"""All keywords of SystemVerilog (IEEE 1800-2017)."""

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<comment>//[^\n]*|/\*.*?\*/)
    | (?P<number>[0-9][0-9_]*(?:\.[0-9]+)?|'[sS]?[bodhBODH][ \t]*[0-9a-fA-FxXzZ?_]+)
    | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
    | (?P<escaped>\\(?:\$signature__)?[A-Za-z_][A-Za-z0-9_$.\[\]]*(?=[ \t\r\n]))
    | (?P<system>\$[A-Za-z0-9_$]*)
    | (?P<attribute>\(\*(?!\)))
    | (?P<symbol>[][(){};,:.\#@=<>!~&|^+*%?-]|/(?![*/]))
    """,
    re.VERBOSE | re.DOTALL,
)


def plain(text: str, name: str) -> str:
    """``text`` without its comments, each line in its place; ``name`` is what errors call it.

    Raises StorageError, one line with the line's number and the word, for: system tasks and
    functions other than ALLOWED_FUNCTIONS, directives and macros, strings, attributes,
    hierarchical names, keywords that synthesis does not know, and other characters than Verilog's.
    """
    parts: list[str] = []
    at, line, before = 0, 1, ""
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _refused(name, line, _word(text, at))
        kind, token = str(found.lastgroup), found.group()
        if kind in ("space", "comment"):
            lines = token.count("\n")
            parts.append(token if kind == "space" else "\n" * lines or " ")
            line += lines
        else:
            if (
                (kind == "system" and token not in ALLOWED_FUNCTIONS)
                or (kind == "word" and token in KEYWORDS - ALLOWED_KEYWORDS)
                or kind == "attribute"
                or (token == "." and before not in ("(", ","))
            ):
                raise _refused(name, line, _word(text, at))
            parts.append(token)
            before = token
        at = found.end()
    return "".join(parts)


def _word(text: str, at: int) -> str:
    """What stands at ``at``, as far as an error shows it."""
    found = re.match(r"[^\s;,()]+", text[at : at + 40])
    return found[0] if found is not None else text[at : at + 2]


def _refused(name: str, line: int, word: str) -> StorageError:
    shown = "".join(c if " " <= c <= "~" else "?" for c in word)
    return StorageError(
        f"{name}: line {line}: '{shown}' is not allowed in Verilog that hwsim did not write"
    )

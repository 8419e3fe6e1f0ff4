"""Which source files decide what a module does: the module and all it imports of the package.

What was computed is taken over as long as the code that computed it is the same. Nobody keeps lists
of that code by hand: it is found in the sources, from the module in which the work begins.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
_MESSAGES = frozenset({"hwsim.errors", "hwsim.progress"})
"""Modules that say what happens; no result depends on their text."""


def import_closure(file: Path) -> list[Path]:
    """``file`` and every file of ``hwsim`` that it imports, directly or through others; sorted.

    Imports inside functions count, those under ``if TYPE_CHECKING`` do not. For a name that a
    package or a module only passes on, the module that defines it counts, and nothing else of
    what passes it on. A module's own parent packages do not count, since a module takes nothing
    from them.
    """
    found: set[Path] = set()
    left = [file.resolve()]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += _imports(path)
    return sorted(found)


def closure_hash(file: Path) -> str:
    """SHA-256 (hex) of names and contents of ``import_closure(file)``."""
    return _hash_of(file, _content_hash)


def code_hash(file: Path) -> str:
    """SHA-256 (hex) of the code of ``file`` and of all that it imports of hwsim.

    Comments, docstrings and layout do not count, and neither do the modules that only say what
    happens (``hwsim.errors``, ``hwsim.progress``).
    """
    return _hash_of(file, _syntax_hash, without={module_file(name) for name in _MESSAGES})


def module_file(name: str) -> Path | None:
    """File of hwsim's module or subpackage ``name``; None for everything else."""
    first, *rest = name.split(".")
    if first != _PACKAGE.name:
        return None
    base = _folder(rest[0]).joinpath(*rest[1:]) if rest else _PACKAGE
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file.resolve()
    return None


def _hash_of(
    file: Path, hash_one: Callable[[Path], str], without: set[Path | None] | None = None
) -> str:
    digest = hashlib.sha256()
    for path in import_closure(file):
        if path not in (without or ()):
            inside = path.is_relative_to(_PACKAGE)
            name = path.relative_to(_PACKAGE).as_posix() if inside else path.name
            digest.update(f"{name} {hash_one(path)}\n".encode())
    return digest.hexdigest()


@cache
def _content_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _syntax_hash(path: Path) -> str:
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring, or a text that describes a constant."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def _folder(subpackage: str) -> Path:
    """Folder of ``hwsim.<subpackage>``, which need not lie in hwsim's own; or where it would be."""
    inside = _PACKAGE / subpackage
    if inside.is_dir() or inside.with_suffix(".py").is_file():
        return inside
    spec = importlib.util.find_spec(f"{_PACKAGE.name}.{subpackage}")
    locations = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(locations))) if locations else inside


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(_imported_files(ast.parse(path.read_bytes()))))


def _imported_files(node: ast.AST) -> Iterator[Path]:
    """Files that a syntax tree imports; absolute imports only, as all of hwsim's are."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            file = module_file(alias.name)
            if file is not None:
                yield file
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            file = _defining_file(node.module, alias.name)
            if file is not None:
                yield file
    typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    for child in node.orelse if isinstance(node, ast.If) and typing else ast.iter_child_nodes(node):
        yield from _imported_files(child)


def _defining_file(module: str, name: str) -> Path | None:
    """The file that ``from module import name`` takes ``name`` from."""
    inner = module_file(f"{module}.{name}")
    if inner is not None:
        return inner
    file = module_file(module)
    if file is not None and name in _passed_on(file):
        return _defining_file(*_passed_on(file)[name])
    return file


@cache
def _passed_on(file: Path) -> dict[str, tuple[str, str]]:
    """Names that a file only imports: the module and the name that each stands for."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.parse(file.read_bytes()).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }

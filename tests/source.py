"""Our source as data: every module with its syntax tree and what it imports, function-level imports included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "wanworker"


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name, fully dotted; `at_start` when importing the module runs it."""

    target: str
    line: int
    at_start: bool

    def is_below(self, *roots: str) -> bool:
        """Say whether the target is one of *roots* or inside one."""
        return any(self.target == root or self.target.startswith(f"{root}.") for root in roots)


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its dotted name, its path below the repository, its syntax tree and what it imports."""

    name: str
    path: str
    tree: ast.Module
    line_count: int
    imports: tuple[Import, ...]

    @property
    def unit(self) -> str:
        """The name that the layers know; empty for the package itself."""
        return unit_of(self.name)

    def finding(self, line: int, text: str) -> str:
        """Write a broken rule as an editor jumps to it."""
        return f"{self.path}:{line}: {text}"


def unit_of(dotted: str) -> str:
    """Return `engines` for `wanworker.engines.base`, `handler` for `handler`, the empty string for `wanworker`."""
    first, *rest = dotted.split(".")
    return (rest[0] if rest else "") if first == PACKAGE else first


def read_modules(root: Path) -> tuple[Module, ...]:
    """Read handler.py and every module of src/wanworker below *root*."""
    source = root / "src"
    files = sorted(source.rglob("*.py"))
    if (root / "handler.py").is_file():
        files.append(root / "handler.py")
    return tuple(_read(path, root, source if path.is_relative_to(source) else root) for path in files)


def _read(path: Path, root: Path, base: Path) -> Module:
    parts = path.relative_to(base).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    text = path.read_text()
    tree = ast.parse(text)
    package = name if is_package else name.rpartition(".")[0]
    return Module(name, str(path.relative_to(root)), tree, len(text.splitlines()), tuple(_imports(tree, package)))


def _imports(tree: ast.AST, package: str, at_start: bool = True) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            yield from (Import(f"{origin}.{alias.name}", node.lineno, at_start) for alias in node.names)
        else:
            is_lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_for_types_only(node)
            yield from _imports(node, package, at_start and not is_lazy)


def _origin(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *filter(None, [node.module])])


def _is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)

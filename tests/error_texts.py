"""What our errors say: every text that the source makes an error with, as a pattern, by its code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from pages import ROOT
from source import read_modules
from wanworker import errors
from wanworker.errors import WorkerError
from wanworker.jobs.runner import QueueFull
from wanworker.rest.http import errors as rest_errors

#: A pattern that fixes fewer characters than this would fit anything.
_LEAST = 12

_KINDS = {
    kind.__name__: kind
    for kind in (*vars(errors).values(), *vars(rest_errors).values(), QueueFull)
    if isinstance(kind, type) and issubclass(kind, WorkerError)
}


@cache
def patterns() -> dict[str, tuple[str, ...]]:
    """Return code -> patterns of the texts that an error of this code is made with, or that a job's record has."""
    found: dict[str, dict[str, None]] = {}
    for module in read_modules(ROOT):
        functions = [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for scope, named in [(module.tree, {}), *((each, _named(each)) for each in functions)]:
            for call in (node for node in ast.walk(scope) if isinstance(node, ast.Call)):
                for code, pattern in _texts(call, named):
                    found.setdefault(code, {})[pattern] = None
    return {code: tuple(each) for code, each in found.items()}


def _named(function: ast.AST) -> dict[str, list[ast.expr]]:
    """Return what each name of *function* is set to: a text is often made on the line before its error."""
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named.setdefault(node.targets[0].id, []).append(node.value)
    return named


def _texts(call: ast.Call, named: dict[str, list[ast.expr]]) -> Iterator[tuple[str, str]]:
    """Yield the code and the pattern of each text that *call* may make an error with."""
    maker = call.func.id if isinstance(call.func, ast.Name) else ""
    if maker in _KINDS and call.args:
        code, argument = _KINDS[maker].code, call.args[0]
    elif maker == "JobError" and isinstance(call.args[0], ast.Constant | ast.Attribute):
        code, argument = _code(call.args[0]), call.args[1]
    else:
        return
    for text in named.get(argument.id, []) if isinstance(argument, ast.Name) else [argument]:
        for part in (text.body, text.orelse) if isinstance(text, ast.IfExp) else (text,):
            pattern, fixed = _pattern(part)
            if code and fixed >= _LEAST:
                yield code, pattern


def _code(written: ast.Constant | ast.Attribute) -> str:
    """Return the code that is *written* as a text or as `Kind.code`."""
    if isinstance(written, ast.Constant):
        return str(written.value)
    kind = _KINDS.get(written.value.id) if isinstance(written.value, ast.Name) else None
    return kind.code if kind else ""


def _pattern(text: ast.expr) -> tuple[str, int]:
    """Return *text* as a pattern, and how many characters of it are fixed."""
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        return re.escape(text.value), len(text.value)
    if isinstance(text, ast.JoinedStr):
        parts = [_pattern(value) for value in text.values]
        return "".join(pattern for pattern, _ in parts), sum(fixed for _, fixed in parts)
    return r"[\s\S]*", 0

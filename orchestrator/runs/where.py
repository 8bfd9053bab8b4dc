"""Conditions such as `state == 'censored' and data.phi > 3`, over the columns of a row. Never `eval`.

Accepted: names of columns (dots allowed), numbers, texts, True, False, None, comparisons, `in`, and, or, not.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from grokstudy.trainables.options import did_you_mean

MAX_LENGTH = 500
ALLOWED = "columns, numbers, texts in quotes, == != < <= > >= in, and, or, not"

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.In: lambda left, right: left in right,
}  # fmt: skip


class WhereError(ValueError):
    """A condition that cannot be read, or that names a column that is not there."""


class Where:
    """A parsed condition."""

    def __init__(self, text: str, columns: list[str]) -> None:
        """Read it. Raises WhereError for anything that is not listed above."""
        if len(text) > MAX_LENGTH:
            raise WhereError(f"the condition is longer than {MAX_LENGTH} characters")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise WhereError(f"{text!r} is not a condition; one has {ALLOWED}") from None
        self._columns = columns
        self._value(self._tree, None)

    def __call__(self, row: Mapping[str, Any]) -> bool:
        """Whether it holds for a row. A comparison with nothing, or of unlike things, does not hold."""
        return bool(self._value(self._tree, row))

    def _value(self, node: ast.expr, row: Mapping[str, Any] | None) -> Any:
        """The value for a row; without a row only check every part."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
            return node.value
        if isinstance(node, ast.Name | ast.Attribute):
            return self._column(node, row)
        if isinstance(node, ast.List | ast.Tuple):
            return [self._value(item, row) for item in node.elts]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return not self._value(node.operand, row)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return -node.operand.value if isinstance(node.operand.value, int | float) else None
        if isinstance(node, ast.BoolOp):
            parts = [bool(self._value(part, row)) for part in node.values]
            return all(parts) if isinstance(node.op, ast.And) else any(parts)
        if isinstance(node, ast.Compare) and all(type(op) in _COMPARISONS for op in node.ops):
            return self._compare(node, row)
        raise WhereError(f"{ast.unparse(node)!r} cannot be used in a condition; one has {ALLOWED}")

    def _compare(self, node: ast.Compare, row: Mapping[str, Any] | None) -> bool:
        values = [self._value(part, row) for part in (node.left, *node.comparators)]
        if row is None:
            return False
        try:
            return all(
                _COMPARISONS[type(op)](left, right)
                for op, left, right in zip(node.ops, values, values[1:], strict=False)
            )
        except TypeError:
            return False

    def _column(self, node: ast.Name | ast.Attribute, row: Mapping[str, Any] | None) -> Any:
        name = ast.unparse(node)
        if name not in self._columns:
            raise WhereError(f"there is no column {name!r}; {did_you_mean(name, self._columns)}")
        return None if row is None else row[name]

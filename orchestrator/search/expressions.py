"""Derived values: arithmetic over the options of a run, such as `0.9 * data.out_degree`. Never `eval`.

An expression is parsed by Python's own parser and then walked; only what is listed here is accepted, and
length, depth, exponents and results are bounded, so that no expression can take long or grow large.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

Number = int | float

MAX_LENGTH = 200
MAX_DEPTH = 20
MAX_EXPONENT = 64
MAX_RESULT = 1e15

_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_SIGNS: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "min": (min, 2, 20), "max": (max, 2, 20), "round": (round, 1, 1), "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1), "sqrt": (math.sqrt, 1, 1), "log10": (math.log10, 1, 1), "int": (int, 1, 1),
}  # fmt: skip
ALLOWED = f"numbers, options such as data.out_degree, + - * / // % ** and {', '.join(_FUNCTIONS)}"


class ExpressionError(ValueError):
    """An expression that cannot be read, or that has no value."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression. Equal when the text is equal."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Check a text. Raises ExpressionError that says what is allowed."""
        _parse(text)
        return cls(text)

    @property
    def names(self) -> tuple[str, ...]:
        """The options it depends on, each once, in order."""
        options = (node for node in ast.walk(_parse(self.text)) if isinstance(node, ast.Attribute))
        return tuple(sorted({_name(node) for node in options}))

    @property
    def is_constant(self) -> bool:
        """Whether it is only a number in quotes."""
        node = _parse(self.text)
        while isinstance(node, ast.UnaryOp):
            node = node.operand
        return isinstance(node, ast.Constant)

    def value(self, lookup: Callable[[str], Number]) -> Number:
        """Compute it. Raises ExpressionError when there is no value."""
        return _value(_parse(self.text), lookup)

    def to_json(self) -> str:
        """The text, as in the file."""
        return self.text


@cache
def _parse(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"is longer than {MAX_LENGTH} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"{text!r} is neither a number nor an expression; an expression has {ALLOWED}") from None
    _check(tree, 1)
    return tree


def _check(node: ast.expr, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ExpressionError(f"is nested more than {MAX_DEPTH} deep")
    for part in _parts(node):
        _check(part, depth + 1)


def _parts(node: ast.expr) -> list[ast.expr]:
    """The operands of an allowed node; raises for any other."""
    match node:
        case ast.Constant(value=int() | float() as number) if number is not True and number is not False:
            if not abs(number) <= MAX_RESULT:
                raise ExpressionError(f"a number is larger than {MAX_RESULT:g}")
            return []
        case ast.Attribute(value=ast.Name()):
            return []
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return [left, right]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
            return [operand]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            _, least, most = _FUNCTIONS[name]
            if not least <= len(args) <= most:
                wanted = "one value" if most == 1 else "two values or more"
                raise ExpressionError(f"{name}() takes {wanted}, not {len(args)}")
            return args
    raise ExpressionError(_refusal(node))


def _refusal(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return f"{name!r} is not a number, and options are written with their section, as in model.layers"
        case ast.BinOp(op=ast.BitXor()):
            return "^ is not a power; write **"
    text = ast.unparse(node)
    return f"{text[:60]!r} cannot stand in an expression; it has {ALLOWED}"


def _name(node: ast.Attribute) -> str:
    assert isinstance(node.value, ast.Name)
    return f"{node.value.id}.{node.attr}"


def _value(node: ast.expr, lookup: Callable[[str], Number]) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Attribute():
            return lookup(_name(node))
    return _computed(node, [_value(part, lookup) for part in _parts(node)])


def _computed(node: ast.expr, operands: list[Number]) -> Number:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and abs(operands[1]) > MAX_EXPONENT:
        raise ExpressionError(f"exponent {operands[1]:g} is larger than {MAX_EXPONENT}")
    try:
        result = _operation(node)(*operands)
    except ZeroDivisionError:
        raise ExpressionError(f"{ast.unparse(node)!r} divides by zero") from None
    except (ValueError, OverflowError):
        result = math.nan
    if isinstance(result, complex) or not abs(result) <= MAX_RESULT:
        values = ", ".join(f"{operand:g}" for operand in operands)
        raise ExpressionError(f"{ast.unparse(node)!r} has no value that can be used (operands {values})")
    return result


def _operation(node: ast.expr) -> Callable[..., Number]:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)]
    if isinstance(node, ast.UnaryOp):
        return _SIGNS[type(node.op)]
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return _FUNCTIONS[node.func.id][0]

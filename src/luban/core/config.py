"""Configuration: frozen dataclasses built from plain dicts, with the key that was mistyped named and the nearest one offered.

A knob is one field with a docstring below it; the docstring is the help. Nothing else has to be written for a knob to exist.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from luban.core.errors import UserError, did_you_mean, listed

T = TypeVar("T")


def build(cls: type[T], values: dict[str, Any], where: str = "") -> T:
    """Makes the dataclass `cls` from a (nested) dict. Raises UserError for an unknown key or a value of the wrong type."""
    if not isinstance(values, dict):
        raise UserError(f"{where or 'the configuration'} must be a mapping of keys to values, not {values!r}.")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    made = {}
    for key, value in values.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in names:
            raise UserError(f"unknown key {path!r}.{did_you_mean(str(key), names)} Known here: {listed(names, 40)}.")
        made[key] = _coerce(hints[key], value, path)
    return cls(**made)


def to_dict(config: Any) -> dict[str, Any]:
    """The inverse of `build`: plain dicts and lists, ready for YAML or JSON."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def override(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets `values["a"]["b"] = value` for the key "a.b", making the dicts on the way."""
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents, 1):
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"cannot set {key!r}: {'.'.join(parents[:depth])!r} is a value, not a group of keys.")
    values[last] = value


def within(config: Any, bounds: Mapping[str, tuple[float, float]], where: str = "model") -> None:
    """Raises UserError where an option, or an item of a list of them, lies outside its bounds (both included). Unset ones pass."""
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        for each in value if isinstance(value, tuple) else (value,):
            if each is not None and not low <= each <= high:
                limits = f"lie between {_spelt(low)} and {_spelt(high)}" if math.isfinite(high) else f"be {_spelt(low)} or more"
                raise UserError(f"{where}.{name} must {limits}, not {value!r}.")


def _spelt(number: float) -> str:
    return f"{int(number):,}" if number == int(number) and abs(number) < 1e15 else f"{number:g}"


def docs(cls: type) -> dict[str, str]:
    """Attribute docstrings of a dataclass: {name: text}. Empty where the source cannot be read (a frozen app, a REPL)."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        except (OSError, TypeError, SyntaxError):
            continue
        for statement, follower in itertools.pairwise(body):
            if isinstance(statement, ast.AnnAssign) and isinstance(follower, ast.Expr) and isinstance(follower.value, ast.Constant):
                found[statement.target.id] = " ".join(str(follower.value.value).split())  # type: ignore[union-attr]
    return found


# ---------------------------------------------------------------- types


def _coerce(hint: Any, value: Any, path: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        rest = [arg for arg in args if arg is not type(None)]
        for arg in rest[:-1]:  # the first type that fits
            try:
                return _coerce(arg, value, path)
            except UserError:
                continue
        return _coerce(rest[-1], value, path)
    if origin is typing.Literal:
        if value not in args:
            near = did_you_mean(str(value), [str(arg) for arg in args])
            raise UserError(f"{path} cannot be {value!r}.{near} It is one of {listed(map(str, args), 40)}.")
        return value
    if origin is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_coerce(args[0], item, f"{path}[{i}]") for i, item in enumerate(items))
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{path} must be a mapping of keys to values, not {value!r}.")
        return {str(key): _coerce(args[1], item, f"{path}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, path)  # type: ignore[arg-type]
    return _scalar(hint, value, path)


def _scalar(hint: type, value: Any, path: str) -> Any:
    """YAML 1.1 reads 1e-4 as text and 3.0 as a float, so numbers are accepted in any spelling that loses nothing."""
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        if any("\ud800" <= letter <= "\udfff" for letter in str(value)):  # how Python holds bytes that are no UTF-8
            raise UserError(f"{path} is no text: {str(value)!r} holds bytes that are not UTF-8.")
        return str(value)
    if hint in (int, float) and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = None
        if number is not None and (hint is float or number == int(number)):
            return hint(number)
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[hint]
    raise UserError(f"{path} must be {kind}, not {value!r}.")

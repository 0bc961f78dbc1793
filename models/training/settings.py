"""A task's config as a flat table of settings, and the same task again with some of them changed.

A config within a config has its settings under dotted names, such as `mcmc.noise_rate`.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from . import Task

Learnt = TypeVar("Learnt")


@dataclass(frozen=True)
class Field:
    """One setting of a config."""

    owner: type  # the dataclass that has it; the string under the field there says what it means
    value: Any
    kind: type  # bool, int, float or str
    choices: tuple[Any, ...] = ()  # where it can be nothing else
    optional: bool = False  # whether it may be None

    def parsed(self, name: str, text: str) -> Any:
        """The value that a person has typed or chosen. Raises: ValueError where it is none of this kind."""
        text = text.strip()
        if self.optional and text.lower() in ("", "none"):
            return None
        if self.choices:
            for choice in self.choices:
                if text == str(choice):
                    return choice
            raise ValueError(f"{name} {text}: must be one of {', '.join(map(str, self.choices))}")
        try:
            value = self.kind(text.replace(",", "")) if self.kind in (int, float) else text
        except ValueError:
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} {text}: must be a {'whole number' if self.kind is int else 'number'}")
        return value


def fields_of(config: Any) -> dict[str, Field]:
    """The settings of a config as they stand, by name, in its order."""
    hints = get_type_hints(type(config), include_extras=True)
    found: dict[str, Field] = {}
    for field in fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if is_dataclass(value):
            found |= {f"{field.name}.{name}": inner for name, inner in fields_of(value).items()}
        else:
            found[field.name] = _field(type(config), value, hint)
    return found


def _field(owner: type, value: Any, hint: Any) -> Field:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    optional = get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)
    if optional:
        (hint,) = (kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is Literal:
        return Field(owner, value, str, get_args(hint), optional)
    assert hint in (bool, int, float, str), f"{owner.__name__}: a field of type {hint} is no setting"
    return Field(owner, value, hint, (), optional)


def values_of(config: Any) -> dict[str, Any]:
    """What the settings are at, by name."""
    return {name: field.value for name, field in fields_of(config).items()}


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings of the same name that are not at the same value, with both."""
    return {name: (a[name], b[name]) for name in a if name in b and a[name] != b[name]}


def again(task: Task[Learnt], changes: Mapping[str, Any]) -> Task[Learnt]:
    """The same task, its data shared, with some settings of its config at other values.

    Raises:
        KeyError: the config has no setting of that name.
        ValueError: a value that the config cannot have; one sentence.
    """
    config = task.config
    for name, value in changes.items():
        config = _with(config, name.split("."), value)
    return replace(task, config=config)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _with(config: Any, path: list[str], value: Any) -> Any:
    if path[0] not in {field.name for field in fields(config)}:
        raise KeyError(f"{path[0]}: {type(config).__name__} has no such setting")
    if len(path) > 1:
        value = _with(getattr(config, path[0]), path[1:], value)
    return replace(config, **{path[0]: value})


def changes_text(changes: Mapping[str, Any]) -> str:
    """How a person tells runs of one task apart: "seed 1, strategy mcmc"."""
    return ", ".join(f"{name.replace('_', ' ')} {text_of(value)}" for name, value in changes.items())


def text_of(value: Any) -> str:
    """A setting's value as it is typed."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Settings that may change while a run goes on: fields of its config, and how a person may turn them.

A config is a frozen dataclass. `Turn` beside a field's type makes it a knob, the string under the field says what it
means, and that is all that flags, sliders, logs and checkpoints know of it. A field that holds a config of its own has
its knobs under dotted names, such as `mcmc.noise_rate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Setting = bool | int | float | str
Config = TypeVar("Config")


@dataclass(frozen=True)
class Knob:
    """A setting that may change while a run goes on, and how a person may turn it. The config says what it means."""

    value: Setting  # as it is now
    low: float = 0.0
    high: float = 1.0
    logarithmic: bool = False  # values are compared by their ratio
    choices: tuple[Setting, ...] = ()  # where it can be nothing else
    group: str = ""  # what it is shown together with


@dataclass(frozen=True)
class Turn:
    """Makes a field of a config a knob, as in `rate: Annotated[float, Turn("learning rates", 1e-6, 1e-2)] = 1e-3`."""

    group: str
    low: float = 0.0
    high: float = 1.0
    logarithmic: bool = False


def knobs_of(config: Any) -> dict[str, Knob]:
    """The knobs of a config as they stand, in the order of its fields.

    A value that the run began with beyond its range is within the knob's.
    """
    found: dict[str, Knob] = {}
    for name, kind in _types(type(config)).items():
        value = getattr(config, name)
        if is_dataclass(value):
            found |= {f"{name}.{inner}": knob for inner, knob in knobs_of(value).items()}
        elif (turn := _turn(kind)) is not None:
            low, high = turn.low, turn.high
            if isinstance(value, int | float) and not isinstance(value, bool):
                low, high = min(low, value), max(high, value)
            found[name] = Knob(value, low, high, turn.logarithmic, _choices(kind), turn.group)
    return found


def turned(config: Config, name: str, value: Setting) -> Config:
    """The config with one knob at another value.

    Raises:
        KeyError: it has no such knob.
        ValueError: the knob cannot be there; one sentence.
    """
    knob = knobs_of(config).get(name)
    if knob is None:
        raise KeyError(f"{name}: it cannot be changed while this is trained")
    return _replaced(config, name.split("."), checked(name, knob, value))


def checked(name: str, knob: Knob, value: Setting) -> Setting:
    """The value as the knob has it: a whole number for a whole number. Raises: ValueError where it cannot be there."""
    if knob.choices:
        if not any(value == choice and type(value) is type(choice) for choice in knob.choices):
            raise ValueError(f"{name} {value}: must be one of {', '.join(map(str, knob.choices))}")
        return value
    if isinstance(knob.value, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} {value}: must be true or false")
        return value
    if isinstance(value, bool | str) or not math.isfinite(value):
        raise ValueError(f"{name} {value}: must be a number")
    if isinstance(knob.value, int) and value != int(value):
        raise ValueError(f"{name} {value}: must be a whole number")
    if not knob.low <= value <= knob.high:
        raise ValueError(f"{name} {value}: must be {_text(knob.low)} to {_text(knob.high)}")
    return type(knob.value)(value)


def known_settings(config: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that a config has, None left out: what `config(**...)` takes, configs in it made whole."""
    known: dict[str, Any] = {}
    for field in fields(config):
        value = settings.get(field.name)
        if is_dataclass(field.default) and isinstance(value, Mapping):
            inner = type(field.default)
            value = inner(**known_settings(inner, value))
        if value is not None:
            known[field.name] = value
    return known


def _replaced(config: Any, path: list[str], value: Setting) -> Any:
    if len(path) > 1:
        value = _replaced(getattr(config, path[0]), path[1:], value)
    return replace(config, **{path[0]: value})


@cache
def _types(config: type) -> dict[str, Any]:
    """Types of the fields, what is beside them included."""
    hints = get_type_hints(config, include_extras=True)
    return {field.name: hints[field.name] for field in fields(config)}


def _turn(kind: Any) -> Turn | None:
    return next((extra for extra in getattr(kind, "__metadata__", ()) if isinstance(extra, Turn)), None)


def _choices(kind: Any) -> tuple[Setting, ...]:
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return get_args(bare) if get_origin(bare) is Literal else ()


def _text(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"

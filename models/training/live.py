"""What can be changed and asked of a run between two steps, by whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from h3d.models.knobs import Knob, Setting


def _fixed(name: str, value: Setting) -> None:
    raise KeyError(f"{name}: it cannot be changed while this is trained")


@dataclass(frozen=True)
class Live:
    """A run between two steps."""

    knobs: Callable[[], Mapping[str, Knob]] = dict  # by the names that the config has for them
    change: Callable[[str, Setting], None] = _fixed
    """Sets one of the knobs from the next step on. Raises: KeyError where there is none of that name, ValueError
    for a value that it cannot have."""
    facts: Callable[[], Mapping[str, str]] = dict  # what a person may want to know of how it goes, by name


FIXED = Live()
"""Of runs that leave nothing to change."""

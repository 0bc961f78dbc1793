"""A run once more with other settings, beside the first: its data is shared, all else is its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h3d.app.homes import home_of
from h3d.models.training.settings import again, changes_text, differing, values_of

from .optimisation import Optimisation


def begin_beside(optimisation: Optimisation, key: int, changes: Mapping[str, Any], *, running: bool = True) -> int:
    """Start the task of a run again with some settings at other values. Returns the key of the new run.

    Its name says what is different. Data is held once for both, where both want the same of it.

    Raises:
        KeyError: there is no such run, or no such setting.
        ValueError: a value that the config cannot have, or data that cannot be read any more; one sentence.
    """
    first = optimisation.task(key)
    task = again(first, changes)
    made = {name: new for name, (_, new) in differing(values_of(first.config), values_of(task.config)).items()}
    name = f"{first.name} ({changes_text(made) or 'again'})"
    return optimisation.begin(task, name=name, home=home_of(task), running=running, data=optimisation.data(key))

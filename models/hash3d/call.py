"""One call of a UNet as the cache sees it: a batch of elements, each of one or more rows (guidance) and one camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .config import CameraInput, Layout

CONDITIONS = (
    "encoder_hidden_states",
    "class_labels",
    "timestep_cond",
    "attention_mask",
    "encoder_attention_mask",
    "added_cond_kwargs",
    "cross_attention_kwargs",
)


@dataclass(frozen=True)
class Call:
    """Arguments by name, and how their rows make elements."""

    arguments: Mapping[str, Any]
    rows_per_element: int
    layout: Layout
    noisy_channels: int
    """First channels of the sample that are the noisy latent; the rest is the image that it is joined with."""

    def __post_init__(self) -> None:
        if self.rows % self.rows_per_element != 0:
            raise ValueError(
                f"the UNet got a batch of {self.rows} rows, which is no multiple of rows_per_element = "
                f"{self.rows_per_element}; set rows_per_element to 1 where a call has no guidance"
            )
        _check_plain(self.arguments.get("cross_attention_kwargs"))

    @property
    def sample(self) -> Tensor:
        return self.arguments["sample"]

    @property
    def rows(self) -> int:
        return self.sample.shape[0]

    @property
    def elements(self) -> int:
        return self.rows // self.rows_per_element

    def rows_of(self, element: int) -> list[int]:
        """The rows of an element."""
        if self.layout == "blocks":
            return [part * self.elements + element for part in range(self.rows_per_element)]
        return [element * self.rows_per_element + part for part in range(self.rows_per_element)]

    def timesteps(self) -> list[float]:
        """One for each element.

        Raises:
            ValueError: the rows of an element have different ones.
        """
        given = self.arguments["timestep"]
        values = torch.as_tensor(given).reshape(-1).tolist()
        if len(values) == 1:
            return [float(values[0])] * self.elements
        found = []
        for element in range(self.elements):
            own = {float(values[row]) for row in self.rows_of(element)}
            if len(own) > 1:
                raise ValueError(
                    f"the rows of element {element} have timesteps {sorted(own)}, and must have one; is layout = "
                    f"{self.layout!r} with rows_per_element = {self.rows_per_element} how the batch is laid out?"
                )
            found.append(own.pop())
        return found

    def latents(self) -> list[Tensor]:
        """The noisy latent [C, h, w] of each element, in memory of its own."""
        return [self.sample[self.rows_of(i)[0], : self.noisy_channels].detach().clone() for i in range(self.elements)]

    def condition(self, element: int, camera_inputs: Sequence[CameraInput]) -> dict[str, Any]:
        """What an element is computed from besides latent, timestep and camera, by flat names."""
        found = {name: self.arguments.get(name) for name in CONDITIONS if name not in camera_inputs}
        if "image" not in camera_inputs and self.sample.shape[1] > self.noisy_channels:
            found["image"] = self.sample[:, self.noisy_channels :]
        rows = torch.tensor(self.rows_of(element))
        return flat({name: self._rows(value, rows) for name, value in found.items()})

    def select(self, rows: Sequence[int]) -> dict[str, Any]:
        """Arguments for some of the rows alone."""
        chosen = torch.tensor(rows)
        return {name: self._rows(value, chosen) for name, value in self.arguments.items()}

    def _rows(self, value: Any, rows: Tensor) -> Any:
        def pick(tensor: Tensor) -> Tensor:
            shared = tensor.ndim == 0 or tensor.shape[0] != self.rows
            return tensor if shared else tensor.index_select(0, rows.to(tensor.device))

        return mapped(value, pick)


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same tree of dicts and lists with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: mapped(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(item, change) for item in value]
    return value


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of a tree of dicts and lists by their paths, without those that are None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping | list | tuple):
        return {name: value}
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    leaves: dict[str, Any] = {}
    for key, item in items:
        leaves |= flat(item, f"{name}/{key}" if name else str(key))
    return leaves


def _check_plain(value: Any) -> None:
    """Raises ValueError where cross_attention_kwargs holds more than numbers and words: its rows are not known."""
    for name, item in (value or {}).items():
        if not isinstance(item, int | float | str | None):
            raise ValueError(
                f"cross_attention_kwargs[{name!r}] is a {type(item).__name__}; Hash3D takes numbers and words there, "
                "since it cannot tell which rows of a batch anything else belongs to"
            )

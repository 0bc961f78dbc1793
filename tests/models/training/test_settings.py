"""Proves that every task's config is a table of settings, and that a task can be begun again with others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from posed_ball import write_posed_ball

from h3d.models.training.gaussians import GaussiansTraining
from h3d.models.training.gaussians_task import GaussiansTask
from h3d.models.training.hash_grid import HashGridTraining
from h3d.models.training.image import ImageTraining
from h3d.models.training.radiance_cache import CacheTraining
from h3d.models.training.settings import again, changes_text, differing, fields_of, values_of
from h3d.models.training.signed_distance import SignedDistanceTraining


@dataclass(frozen=True)
class Inner:
    noise: float = 1e-4


@dataclass(frozen=True)
class Outer:
    count: int = 3
    table: int | None = None
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Nested:
    """A task as far as `again` knows one."""

    config: Outer = field(default_factory=Outer)


@pytest.mark.parametrize(
    "config", [GaussiansTraining, HashGridTraining, ImageTraining, SignedDistanceTraining, CacheTraining]
)
def test_every_config_is_a_table_of_settings_that_are_typed_as_they_are_shown(config: type):
    for name, one in fields_of(config()).items():
        if one.kind is not bool:
            assert one.parsed(name, str(one.value)) == one.value, name


def test_settings_of_a_config_within_a_config_have_dotted_names():
    assert values_of(Outer()) == {"count": 3, "table": None, "inner.noise": 1e-4}
    changed = again(Nested(), {"inner.noise": 0.5, "count": 4})  # pyright: ignore[reportArgumentType]
    assert changed.config == Outer(count=4, inner=Inner(0.5))
    with pytest.raises(KeyError, match="noise: Outer has no such setting"):
        again(Nested(), {"noise": 1.0})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("cap", "many", "cap many: must be a whole number"),
        ("cap", "1.5", "cap 1.5: must be a whole number"),
        ("sh_rate", "nan", "sh_rate nan: must be a number"),
        ("strategy", "best", "strategy best: must be one of default, mcmc"),
    ],
)
def test_what_is_typed_wrongly_is_said(name: str, text: str, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        fields_of(GaussiansTraining())[name].parsed(name, text)


def test_choices_that_are_numbers_stay_numbers_and_none_is_none():
    assert fields_of(GaussiansTraining())["downscale"].parsed("downscale", "2") == 2
    assert fields_of(GaussiansTraining())["downscale"].parsed("downscale", "auto") == "auto"
    assert fields_of(Outer())["table"].parsed("table", "none") is None
    assert fields_of(Outer())["table"].parsed("table", "1,024") == 1024


def test_a_task_begins_again_with_its_data_and_what_differs_is_told(tmp_path: Path):
    task = GaussiansTask.open(write_posed_ball(tmp_path, cameras=4, size=8), {})
    other = again(task, {"strategy": "mcmc", "cap": 500})
    assert isinstance(other, GaussiansTask) and other.dataset is task.dataset
    found = differing(values_of(task.config), values_of(other.config))
    assert found == {"strategy": ("default", "mcmc"), "cap": (60_000, 500)}
    assert changes_text({"strategy": "mcmc", "sh_rate": 0.0025}) == "strategy mcmc, sh rate 0.0025"
    with pytest.raises(ValueError, match="cap 1: must be 4 or more"):
        again(task, {"cap": 1})

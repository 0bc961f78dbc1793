"""Proves what makes a field of a config a knob, what a knob can be turned to, and that old settings still fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import pytest

from h3d.models.density import DefaultStrategy
from h3d.models.knobs import Knob, Turn, knobs_of, known_settings, turned
from h3d.models.training.gaussians import GaussiansTraining


@dataclass(frozen=True)
class Inner:
    every: Annotated[int, Turn("b", 1, 10)] = 5
    hidden: int = 3

    def __post_init__(self) -> None:
        if self.every == 7:
            raise ValueError("every 7: must not be 7")


@dataclass(frozen=True)
class Outer:
    seed: int = 0
    rate: Annotated[float, Turn("a", 1e-4, 1.0, logarithmic=True)] = 1e-2
    kind: Annotated[Literal["x", 1], Turn("a")] = "x"
    bold: Annotated[bool, Turn("b")] = False
    inner: Inner = Inner()


def test_fields_that_say_how_they_turn_are_knobs_in_order_and_configs_within_give_theirs():
    assert knobs_of(Outer()) == {
        "rate": Knob(1e-2, 1e-4, 1.0, logarithmic=True, group="a"),
        "kind": Knob("x", choices=("x", 1), group="a"),
        "bold": Knob(False, group="b"),
        "inner.every": Knob(5, 1, 10, group="b"),
    }
    assert knobs_of(Outer(rate=5.0))["rate"].high == 5.0, "where the run began is within reach"


def test_turning_gives_another_config_with_whole_numbers_kept_whole():
    config = turned(turned(Outer(), "inner.every", 2.0), "rate", 1)
    assert config == Outer(rate=1.0, inner=Inner(every=2))
    assert isinstance(config.inner.every, int) and isinstance(config.rate, float)
    assert turned(config, "kind", 1).kind == 1


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("rate", 2.0, "rate 2.0: must be 0.0001 to 1"),
        ("rate", float("nan"), "rate nan: must be a number"),
        ("rate", "fast", "rate fast: must be a number"),
        ("rate", True, "rate True: must be a number"),
        ("bold", 1, "bold 1: must be true or false"),
        ("kind", "1", "kind 1: must be one of x, 1"),
        ("inner.every", 2.5, "inner.every 2.5: must be a whole number"),
        ("inner.every", 0, "inner.every 0: must be 1 to 10"),
        ("inner.every", 7, "every 7: must not be 7"),
    ],
)
def test_what_a_knob_cannot_be_gets_one_sentence(name: str, value, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        turned(Outer(), name, value)


@pytest.mark.parametrize("name", ["seed", "nothing", "inner", "inner.hidden"])
def test_what_is_no_knob_cannot_be_turned(name: str):
    with pytest.raises(KeyError, match="it cannot be changed while this is trained"):
        turned(Outer(), name, 1)


def test_settings_of_a_json_make_the_config_again_and_older_ones_get_defaults():
    config = GaussiansTraining(cap=99, default=DefaultStrategy(refine_every=7))
    again = GaussiansTraining(**known_settings(GaussiansTraining, asdict(config)))
    assert again == config
    old = {"cap": 99, "means_rate": 1e-3, "log2_table_size": 14, "background": None, "default": {"refine_every": 7}}
    assert GaussiansTraining(**known_settings(GaussiansTraining, old)) == GaussiansTraining(
        cap=99, means_rate=1e-3, default=DefaultStrategy(refine_every=7)
    )

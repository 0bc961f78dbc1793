"""The cuts of a report, what was measured of each, and the CSV file that holds both."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar, get_args

from h3d.models.compensation import Size
from h3d.models.formats.atomic import replacing
from h3d.models.pruning import CRITERIA

Table = Literal["keep", "gamma", "criteria", "tuned_keep", "tuned_gamma", "tuned_criteria", "networks"]

KEEPS = (1.0, 0.8, 0.5, 0.3, 0.1, 0.01)
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
RATIOS_KEEP = 0.1
SIDE_BY_SIDE = (0.3, 0.1)
MERGING, OFF = "merging", "off"


@dataclass(frozen=True)
class Case:
    """One cut of a table; by is a criterion, or merging."""

    table: str
    by: str
    keep: float
    ratio: float
    steps: int = 0
    """Of fine-tuning after the cut."""
    network: str = OFF
    """Learnt along in the second half of the steps."""


@dataclass(frozen=True)
class Found:
    """What a cut leaves: beside the whole scene, or where it was fine-tuned, beside the test photos."""

    count: int
    psnr: float
    ssim: float
    ply_bytes: int  # with the network beside it
    spz_bytes: int
    milliseconds: float  # a picture
    seconds: float = 0.0  # of cutting and fine-tuning
    peak_mib: float = 0.0  # of the program meanwhile; 0 where the system does not tell


Rows = dict[Case, Found]
Value = TypeVar("Value", Case, Found)


def cuts() -> Iterator[Case]:
    """All cuts in the order of the tables, before fine-tune."""
    yield from _cuts(("keep", "gamma", "criteria"), 0)


def tuned_cuts(steps: int, by: str, sizes: tuple[Size, ...] = get_args(Size)[:3]) -> Iterator[Case]:
    """The same after so many steps of fine-tuning, and the networks after as many again, of cuts `by` a criterion."""
    yield from _cuts(("tuned_keep", "tuned_gamma", "tuned_criteria"), steps)
    for keep in SIDE_BY_SIDE:
        for network in (OFF, *sizes):
            yield Case("networks", by, keep, 0.5, 2 * steps, network)


def _cuts(tables: tuple[Table, Table, Table], steps: int) -> Iterator[Case]:
    for keep in KEEPS:
        yield Case(tables[0], "band_stop", keep, 0.5, steps)
    for ratio in RATIOS:
        yield Case(tables[1], "band_stop", RATIOS_KEEP, ratio, steps)
    for keep in SIDE_BY_SIDE:
        for by in (*CRITERIA, MERGING):
            yield Case(tables[2], by, keep, 0.5, steps)


def read_rows(path: Path) -> Rows:
    """What is measured so far. Raises: ValueError, the file is none of a report."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    try:
        return {_typed(Case, row): _typed(Found, row) for row in table}
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: it is no report of h3d prune; remove it or name another folder") from error


def write_rows(path: Path, rows: Rows) -> None:
    """All of it, or nothing."""
    with replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        writer = csv.DictWriter(text, [f.name for kind in (Case, Found) for f in fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(case) | asdict(found) for case, found in rows.items())
        text.detach()


def _typed(kind: type[Value], row: dict[str, str]) -> Value:
    kinds = {"str": str, "float": float, "int": int}
    return kind(**{field.name: kinds[str(field.type)](row[field.name]) for field in fields(kind)})

"""Proves the tables of `h3d prune --report`: what they hold, that they go on where they were, and wrong wishes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from balls import ball
from posed_ball import write_posed_ball

from h3d.app.prune_report import Case, cuts, measuring, read_rows, tuned_cuts
from h3d.app.prune_verb import PruneConfig, prune_command
from h3d.app.train_verb import TrainConfig, train
from h3d.models import formats
from h3d.models.pruning import CRITERIA


@pytest.fixture(scope="module", autouse=True)
def few_views() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "VIEWS", 2)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished report of a ball of 2,000 Gaussians."""
    made = tmp_path_factory.mktemp("report")
    formats.write(made / "red.ply", ball((0.9, 0.1, 0.1)))
    told: list[float] = []
    said = prune_command(PruneConfig(made / "red.ply", made / "report", report=True), progress=told.append)
    assert said.startswith(f"{len(list(cuts()))} cuts compared with the whole from 2 of 32 synthetic cameras")
    assert said.endswith("before fine-tune") and told == sorted(told) and told[-1] == 1.0
    return made / "report"


def test_the_tables_have_every_cut_and_their_numbers_make_sense(folder: Path):
    rows = read_rows(folder / "report.csv")
    assert list(rows) == list(cuts())
    assert {case.by for case in rows} == {*CRITERIA, "merging"}
    for case, found in rows.items():
        assert found.count == max(round(case.keep * 2000), 1)
    whole = rows[Case("keep", "band_stop", 1.0, 0.5)]
    assert whole.psnr == float("inf") and whole.ssim == pytest.approx(1.0)
    kept = [found for case, found in rows.items() if case.table == "keep"]
    assert [found.psnr for found in kept] == sorted((found.psnr for found in kept), reverse=True)
    assert [found.ply_bytes for found in kept] == sorted((found.ply_bytes for found in kept), reverse=True)


def test_they_are_written_for_people_and_papers(folder: Path):
    text, tex = ((folder / name).read_text() for name in ("report.md", "report.tex"))
    assert text.count("\n## ") == 3 and "before fine-tune" in text
    assert text.count("| band_stop |") == 6 + 5 + 2
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 3
    assert r"band\_stop & 100 \% & 0.5 & 2,000 & equal" in tex
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")


def test_a_report_goes_on_where_it_was(folder: Path, tmp_path: Path):
    lines = (folder / "report.csv").read_text().splitlines()
    # The first row is marked, the third is missing: the one stays, the other is measured.
    marked = ",".join((*lines[1].split(",")[:-3], "12345.0", "0.0", "0.0"))
    (tmp_path / "report.csv").write_text("\n".join([lines[0], marked, lines[2], *lines[4:]]) + "\n")
    prune_command(PruneConfig(folder.parent / "red.ply", tmp_path, report=True))
    rows, before = (read_rows(path / "report.csv") for path in (tmp_path, folder))
    assert set(rows) == set(before)
    assert rows[next(iter(cuts()))].milliseconds == 12345.0
    assert {case: found.psnr for case, found in rows.items()} == {case: found.psnr for case, found in before.items()}
    assert (tmp_path / "report.md").read_text().count("\n## ") == 3


def test_wrong_wishes_get_a_sentence(folder: Path, tmp_path: Path):
    scene = folder.parent / "red.ply"
    with pytest.raises(ValueError, match="red.ply is a file; a report is a folder"):
        prune_command(PruneConfig(scene, scene, report=True))
    with pytest.raises(ValueError, match="compares all networks where it fine-tunes; leave out --compensate"):
        prune_command(PruneConfig(scene, tmp_path, report=True, fine_tune=5, data=tmp_path, compensate="tiny"))
    with pytest.raises(ValueError, match="--minutes 5: ends a --report, and must be above 0"):
        prune_command(PruneConfig(scene, tmp_path / "out.ply", minutes=5))
    (tmp_path / "report.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="it is no report of h3d prune; remove it or name another folder"):
        prune_command(PruneConfig(scene, tmp_path, report=True))


def test_with_photos_every_cut_is_fine_tuned_and_networks_are_compared(tmp_path: Path):
    data, run = write_posed_ball(tmp_path / "balls", size=40), tmp_path / "run"
    train(TrainConfig(data, run, model="gaussians", steps=200, cap=400, background="black"))
    config = PruneConfig(run, tmp_path / "report", criterion="random", report=True, data=data, fine_tune=20)
    said = prune_command(replace(config, minutes=1e-9))
    wanted = list(cuts()) + list(tuned_cuts(20, "random"))
    assert said.startswith(f"1 of {len(wanted)} cuts compared"), "the budget of time is kept, and one is measured"
    said = prune_command(config)
    assert said.startswith(f"{len(wanted)} cuts compared") and "photos of balls (the whole: PSNR" in said
    rows = read_rows(tmp_path / "report" / "report.csv")
    assert list(rows) == wanted
    for case, found in rows.items():
        assert (found.seconds > 0.0) == (case.steps > 0) and (found.peak_mib > 100.0) == (case.steps > 0)
    tuned = {case.keep: found for case, found in rows.items() if case.table == "tuned_keep"}
    assert tuned[1.0].psnr > tuned[0.01].psnr
    networks = {(case.keep, case.network): found for case, found in rows.items() if case.table == "networks"}
    assert {network for _, network in networks} == {"off", "tiny", "small", "medium"}
    sizes = [networks[0.3, network].ply_bytes for network in ("off", "tiny", "small", "medium")]
    assert sizes == sorted(sizes) and sizes[1] > sizes[0] + 1.5e6, "the network counts"
    text = (tmp_path / "report" / "report.md").read_text()
    assert text.count("\n## ") == 7 and "| random | 30 % |" in text and "| tiny |" in text

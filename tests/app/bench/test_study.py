"""Proves the study of encodings: each variant is measured once, an interrupted study goes on, and the report holds all.

Trains a few steps on a made-up data set; how good the encodings are is the study's business, not the tests'.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from posed_ball import write_posed_ball

from h3d.app.bench import demo_photos, encodings_study, study_report
from h3d.app.bench.metrics import FULL, QUICK, Skipped
from h3d.models import datasets
from h3d.models.training.hash_grid import HashGridTraining

TINY = HashGridTraining(levels=3, features=2, log2_table_size=8, finest_resolution=32, hidden=16, samples_per_step=512)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study's folder; it studies three tiny variants on a ball."""
    ball = write_posed_ball(tmp_path / "ball", cameras=6, test_cameras=1, size=24)
    variants = {
        "hash_T8": TINY,
        "sum_T8": replace(TINY, combine="sum"),
        "frequency": replace(TINY, encoding="frequency"),
    }
    monkeypatch.setattr(encodings_study, "variants", lambda: variants)
    monkeypatch.setattr(encodings_study, "STEPS", 4)
    monkeypatch.delenv("H3D_DATA", raising=False)
    monkeypatch.setenv("H3D_STUDY_DATA", str(ball))
    monkeypatch.setenv("H3D_STUDY_OUT", str(tmp_path / "study"))
    return tmp_path / "study"


def test_every_variant_gives_its_metrics_and_a_line_of_the_table(folder: Path):
    metrics = {metric.key: metric.value for metric in encodings_study.encodings(FULL)}
    assert len(metrics) == 9
    # 3 levels of 512 entries at most and 2 features, networks 6-16-16 and 32-16-16-3; a sum's first one is 2-16-16.
    networks = 32 * 16 + 16 * 16 + 16 * 3 + 16 * 16
    table = json.loads((folder / "results.json").read_text())[0]["parameters"] - networks - 6 * 16
    assert metrics["study/own/sum_T8/parameters"] == table + networks + 2 * 16
    assert metrics["study/own/frequency/parameters"] == 60 * 16 + 3 * 16 * 16 + networks
    lines = (folder / "encodings.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| hash, concatenated, T = 2^8",
        "| hash, summed, T = 2^8",
        "| frequencies",
    ]
    with Image.open(folder / "encodings.jpg") as plot:
        assert plot.size[0] > 300 and np.asarray(plot).std() > 5


def test_an_interrupted_study_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch):
    first = encodings_study.encodings(FULL)
    kept = [next(first) for _ in range(4)]
    trained: list[HashGridTraining] = []
    measure = encodings_study.measure
    monkeypatch.setattr(
        encodings_study, "measure", lambda scene, config, steps: trained.append(config) or measure(scene, config, steps)
    )
    again = list(encodings_study.encodings(FULL))
    assert again[:4] == kept and [config.encoding for config in trained] == ["frequency"]
    assert not (folder / "unfinished.json").exists()


def test_quick_runs_leave_it_out(folder: Path):
    with pytest.raises(Skipped, match="tens of minutes in all; run without --quick"):
        next(encodings_study.encodings(QUICK))


def test_a_scene_that_cannot_be_read_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("H3D_STUDY_DATA", str(tmp_path / "nothing"))
    with pytest.raises(Skipped, match="the study's scene own cannot be read: .*nothing"):
        next(encodings_study.encodings(FULL))


def test_the_real_variants_are_the_papers_comparisons():
    names = list(encodings_study.variants())
    assert names[:8] == [f"hash_T{size}" for size in range(12, 20)]
    assert set(names[8:]) == {"sum_T14", "sum_T19", "dense_T14", "dense_T19", "frequency"}
    labels = [study_report.label(name) for name in names]
    assert labels[0] == "hash, concatenated, T = 2^12" and len(set(labels)) == len(labels)


def test_photos_of_the_demo_scene_are_a_data_set_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo_photos, "TRAIN", 2)
    monkeypatch.setattr(demo_photos, "TEST", 1)
    monkeypatch.setattr(demo_photos, "SIZE", 64)
    folder = demo_photos.write_demo_photos(tmp_path)
    dataset = datasets.read(folder)
    assert (len(dataset.train), len(dataset.test)) == (2, 1)
    pixels = np.asarray(Image.open(folder / "test" / "000.png"))
    assert pixels.shape == (64, 64, 4)
    # The scene is in the middle, and nothing behind it at the corners.
    assert pixels[28:36, 28:36, 3].mean() > 200 and pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3].max() == 0
    before = (folder / "test" / "000.png").stat().st_mtime_ns
    demo_photos.write_demo_photos(tmp_path)
    assert (folder / "test" / "000.png").stat().st_mtime_ns == before

"""Proves what scripts rely on: printed lines, exit codes, sentences on stderr instead of tracebacks, a clean Ctrl-C."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from balls import ball
from picture_files import noise
from PIL import Image
from program import running_program
from snapshot_files import snapshot, splatfacto_state, write_checkpoint, write_snapshot

from h3d.app.cli import convert, info
from h3d.models import formats
from h3d.models.training.tasks import KINDS
from h3d.renderers.cameras import camera_to_json, look_at

RED = (0.9, 0.1, 0.1)


def h3d(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from h3d.app.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "red.ply"
    formats.write(path, ball(RED))
    return path


def test_info_says_what_a_file_holds(scene: Path):
    done = h3d("info", scene)
    assert done.returncode == 0
    assert "2,000" in done.stdout and "3DGS PLY" in done.stdout


def test_convert_writes_the_format_of_the_suffix(scene: Path, tmp_path: Path):
    done = h3d("convert", scene, tmp_path / "red.spz")
    assert done.returncode == 0 and "2,000 Gaussians" in done.stdout
    assert len(formats.read(tmp_path / "red.spz")) == 2000


def test_a_bad_file_is_one_sentence_and_exit_code_1(tmp_path: Path):
    (tmp_path / "bad.ply").write_bytes(b"ply\nformat nonsense\n")
    done = h3d("info", tmp_path / "bad.ply")
    assert done.returncode == 1
    assert "bad.ply" in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_wrong_usage_is_exit_code_2(scene: Path):
    assert h3d("info").returncode == 2
    assert h3d("render", scene, "--no-such-flag").returncode == 2


def test_render_puts_the_scene_where_the_camera_sees_it(scene: Path, tmp_path: Path):
    from PIL import Image

    camera = look_at(
        np.array([0.0, 0.0, -4.0]), np.zeros(3), np.array([0.0, -1.0, 0.0]),
        fov_y_radians=math.radians(60.0), width=200, height=100,
    )  # fmt: skip
    (tmp_path / "cam.json").write_text(json.dumps(camera_to_json(camera)))
    done = h3d("render", scene, "--camera", tmp_path / "cam.json", "-o", tmp_path / "out.png", "--background", "1,1,1")
    assert done.returncode == 0, done.stderr
    pixels = np.asarray(Image.open(tmp_path / "out.png").convert("RGB"), np.int32)
    assert pixels.shape == (100, 200, 3)
    np.testing.assert_allclose(pixels[50, 100], [230, 26, 26], atol=3)
    assert pixels[5, 5].min() == 255
    # A ball of radius 1 (and its blur) seen from 4 away fills tan(asin(1/4)) / tan(30 degrees) of the half height.
    rows = np.flatnonzero(pixels[:, 100, 1] < 128)
    assert np.ptp(rows) / 2 == pytest.approx(50 * math.tan(math.asin(1.06 / 4)) / math.tan(math.radians(30)), abs=4)


def test_a_camera_that_is_none_is_refused_in_a_sentence(scene: Path, tmp_path: Path):
    (tmp_path / "cam.json").write_text(
        '{"camera_to_world": [[1, 0], [0, 1]], "fov_y_degrees": 40, "width": 9, "height": 9}'
    )
    done = h3d("render", scene, "--camera", tmp_path / "cam.json", "-o", tmp_path / "out.png")
    assert done.returncode == 1 and "4x4" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()


def test_the_program_prints_its_address_serves_it_and_ends_with_ctrl_c(scene: Path, tmp_path: Path):
    with running_program(scene, state=tmp_path / "state") as program:
        parts = urlsplit(program.url)
        assert parts.hostname == "127.0.0.1" and parts.query.startswith("token=")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(program.url, timeout=20) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError, match="403"):
            opener.open(f"http://{parts.netloc}/", timeout=20)
    assert program.process.returncode == 0
    text = "".join(program.errors)
    assert "2,000 Gaussians" in text and "cpu" in text and "Traceback" not in text


def test_the_program_remembers_what_was_opened(scene: Path, tmp_path: Path):
    with running_program(scene, state=tmp_path / "state"):
        pass
    assert json.loads((tmp_path / "state" / "recent.json").read_text()) == [str(scene.resolve())]


def test_a_scene_that_is_missing_is_a_sentence_before_anything_is_served(tmp_path: Path):
    command = [sys.executable, "-c", "from h3d.app.cli import view_main; view_main()", str(tmp_path / "none.ply")]
    done = subprocess.run(
        [*command, "--port", "0", "--no-open"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "none.ply" in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


def test_a_snapshot_is_described_and_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = write_snapshot(tmp_path / "fox.ingp", snapshot())
    info(source)
    told = capsys.readouterr().out
    for text in ("instant-ngp snapshot (gzip)", "radiance field", "4 levels of 2 features", "occupied", "35000 steps"):
        assert text in told, text
    convert(source, tmp_path / "fox.safetensors")
    convert(tmp_path / "fox.safetensors", tmp_path / "back.msgpack")
    assert "back.msgpack: radiance field" in capsys.readouterr().out
    info(tmp_path / "back.msgpack")
    assert "instant-ngp snapshot (plain)" in capsys.readouterr().out
    with pytest.raises(formats.FormatError, match="a field is not written as .ply"):
        convert(source, tmp_path / "fox.ply")


def test_the_conversion_of_a_huge_picture_is_told_and_ctrl_c_leaves_no_cache(tmp_path: Path):
    """As in a terminal, of which stderr of a test is none: what is told there is proved in test_progress_line."""
    Image.fromarray(noise(2000, 1000)).save(tmp_path / "a.png", compress_level=1)
    program = (
        "import os, signal, sys; from h3d.app import cli, progress_line; from h3d.models import pictures\n"
        "pictures.HELD_PIXELS, progress_line.PATIENCE_SECONDS, progress_line.LOG_SECONDS = 1000, 0.0, 0.0\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, whoever runs the tests\n"
        "said = progress_line.ProgressLine.__call__\n"
        "def interrupted(line, text): said(line, text); os.kill(os.getpid(), signal.SIGINT)\n"
        "if sys.argv.pop(1) == 'interrupt': progress_line.ProgressLine.__call__ = interrupted\n"
        "getattr(cli, sys.argv.pop(1))()"
    )
    environment = {**os.environ, "H3D_CACHE": str(tmp_path / "cache"), "H3D_STATE": str(tmp_path / "state")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)

    train = ("main", "train", str(tmp_path / "a.png"), "-o", str(tmp_path / "run"), "--steps", "1")
    view = ("view_main", str(tmp_path / "a.png"), "--port", "0", "--no-open")
    for words in (train, view):
        done = run("interrupt", *words)
        assert done.returncode == 130 and "Traceback" not in done.stderr
        assert "converting a.png to tiles: 13 %, " in done.stderr and "100 %" not in done.stderr
        assert list((tmp_path / "cache").iterdir()) == [], "nothing partial may stay"
    done = run("go on", *train)
    assert done.returncode == 0
    whole, remark = "converting a.png to tiles: 100 %, 0 s left\n", "tile cache of 0.0 GiB"
    assert done.stderr.index(whole) < done.stderr.index(remark)


def test_help_and_readme_tell_every_model_that_can_be_learnt():
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    for entry in ("view_main", "main"):
        words = ["--help"] if entry == "view_main" else ["train", "--help"]
        command = [sys.executable, "-c", f"from h3d.app.cli import {entry}; {entry}()", *words]
        environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}  # Wider, and boxes stand side by side.
        told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment).stdout
        told = " ".join(re.sub("[│╭╰─╮╯]", " ", told).split())
        for name, kind in KINDS.items():
            assert f"{name} = {kind.learns}" in told, f"{entry}: {name}"
            assert f"`{name}`" in readme, f"README: {name}"


def test_a_run_of_splatfacto_is_told_converted_and_drawn(tmp_path: Path):
    run = tmp_path / "run"
    checkpoint = write_checkpoint(run / "nerfstudio_models" / "step-000029999.ckpt", splatfacto_state())
    said = h3d("info", run).stdout
    assert "splatfacto checkpoint (29999 steps)" in said and re.search(r"Gaussians +20\n", said)
    assert h3d("convert", checkpoint, tmp_path / "out.ply").returncode == 0
    assert torch.equal(formats.read(tmp_path / "out.ply").means, formats.read(run).means)
    drawn = h3d("render", run, "-o", tmp_path / "out.png", "--width", "48", "--height", "32")
    assert drawn.returncode == 0 and (tmp_path / "out.png").stat().st_size > 0

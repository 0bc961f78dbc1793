"""Image fields: how well a picture is learnt over time, what looking at it costs, and what a gigapixel takes.

The picture is a real one from H3D_DATA (images/albert.exr); the gigapixel is made here (`gigapixel`) and learnt by
`h3d train` in a process of its own, which says at its end what the most resident memory was (VmHWM of /proc: what a
parent is told of a child that has ended counts the parent's own memory too).
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from h3d.app.figures.framing import frame_camera
from h3d.app.workspace.scene import Layer
from h3d.models.image_field import ImageField
from h3d.models.training.picture_task import ImageTask
from h3d.renderers.cameras import pixel_directions

from .gigapixel import write_landscape
from .metrics import MEMORY_TOLERANCE, Effort, Metric, Skipped, best_of_blocks, milliseconds, timed

PSNR_TOLERANCE = 0.03
QUICK_SECONDS, FULL_SECONDS = 15, 120
WIDTH, HEIGHT = 640, 360
SIDE, GIGAPIXEL_MINUTES = 32768, 5
DISK_BYTES = 6 << 30  # the picture, the run, and some room


def albert(effort: Effort) -> Iterator[Metric]:
    """PSNR in sRGB over all pixels after 15 seconds and after 2 minutes of training; a frame of what was learnt."""
    task = ImageTask.open(_albert(), {})
    field = None
    marks = [QUICK_SECONDS] if effort.quick else [QUICK_SECONDS, FULL_SECONDS]
    for step in task.train():
        if step.seconds < marks[0]:
            continue
        field = step.snapshot()
        name = f"{marks[0]}s" if marks[0] < 60 else f"{marks[0] // 60}min"
        psnr = task.judge(field).metrics["psnr"]
        yield Metric(f"image/train/albert_psnr_at_{name}", psnr, "dB", "higher", PSNR_TOLERANCE)
        marks.pop(0)
        if len(marks) == 0:
            break
    assert field is not None
    yield milliseconds("image/frame_640x360_ms", 1e3 * _frame_seconds(field, effort))


def gigapixel(effort: Effort) -> Iterator[Metric]:
    """Highest memory and PSNR of 5 minutes on a generated picture of 32768 x 32768; takes 8 minutes."""
    if effort.quick:
        raise Skipped("a gigapixel is made and learnt in 8 minutes; leave --quick out")
    if sys.platform != "linux":
        raise Skipped("the highest memory of a process is read from /proc, which only Linux has")
    with tempfile.TemporaryDirectory(prefix="h3d-bench-") as folder:
        if shutil.disk_usage(folder).free < DISK_BYTES:
            raise Skipped(f"{folder} has less than {DISK_BYTES >> 30} GiB free; set TMPDIR to another disk")
        picture, run = Path(folder) / "landscape.tif", Path(folder) / "run"
        write_landscape(picture, SIDE)
        rss = _train_apart(picture, run)
        with open(run / "metrics.csv", newline="") as file:
            psnr = float(list(csv.DictReader(file))[-1]["psnr"])
    yield Metric("image/train/gigapixel_rss_mb", rss / 1e6, "MB", "lower", MEMORY_TOLERANCE)
    yield Metric(f"image/train/gigapixel_psnr_at_{GIGAPIXEL_MINUTES}min", psnr, "dB", "higher", PSNR_TOLERANCE)


def _train_apart(picture: Path, run: Path) -> int:
    """`h3d train` in a process of its own; its highest resident memory in bytes."""
    told = run.with_name("status")
    code = (
        "import pathlib, sys\nfrom h3d.app.cli import main\ntold = sys.argv.pop(1)\n"
        "try:\n    main()\nfinally:\n"
        "    pathlib.Path(told).write_text(pathlib.Path('/proc/self/status').read_text())"
    )
    flags = ["train", str(picture), "-o", str(run), "--minutes", str(GIGAPIXEL_MINUTES)]
    done = subprocess.run([sys.executable, "-c", code, str(told), *flags], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ChildProcessError(f"h3d train ended with {done.returncode}: {done.stderr[-500:]}")
    return int(re.search(r"VmHWM:\s*(\d+) kB", told.read_text())[1]) * 1024  # type: ignore[reportOptionalSubscript]


def _frame_seconds(field: ImageField, effort: Effort) -> float:
    """Of the whole picture in view."""
    layer = Layer(1, "bench", field)
    camera = frame_camera([layer], direction=(0.0, 0.0, -1.0), width=WIDTH, height=HEIGHT)
    directions = torch.from_numpy(pixel_directions(camera, (0, 0, WIDTH, HEIGHT)).astype(np.float32))
    origins = torch.from_numpy(camera.position.astype(np.float32)).expand_as(directions).contiguous()
    return best_of_blocks(lambda: timed(lambda: field.render(origins, directions)), effort)


def _albert() -> Path:
    root = os.environ.get("H3D_DATA")
    path = Path(root or "") / "images" / "albert.exr"
    if root is None or not path.is_file():
        raise Skipped("images/albert.exr is a real picture; set H3D_DATA to the folder that holds it")
    return path

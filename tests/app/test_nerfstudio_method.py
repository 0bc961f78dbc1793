"""Proves what we say of nerfstudio against nerfstudio itself, in its own environment and process.

H3D_NERFSTUDIO names an interpreter with nerfstudio 1.1.5 and this package, installed without its requirements as
assets/docs/nerfstudio.md says. Everything here is skipped without it but the last test.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio_files import write_processed_ball

from h3d.models import datasets, formats, losses
from h3d.models.gaussians import Gaussians
from h3d.models.training.pinhole_photos import pinhole_photo
from h3d.renderers.gaussians import RasterOptions, rasterize_gaussians

METHOD = Path(__file__).parents[2] / "app" / "nerfstudio_method.py"
SECONDS = 300.0

PARSE = """
import json, sys
from pathlib import Path
import h3d.models.meshes.library
h3d.models.meshes.library.open3d()
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
config = NerfstudioDataParserConfig(data=Path(sys.argv[1]), load_3D_points=True, eval_mode="all")
found = config.setup().get_dataparser_outputs("train")
found.save_dataparser_transform(Path(sys.argv[2]) / "dataparser_transforms.json")
cameras = found.cameras
json.dump({
    "names": [path.name for path in found.image_filenames],
    "poses": cameras.camera_to_worlds.double().tolist(),
    "K": cameras.get_intrinsics_matrices().double().tolist(),
    "points": found.metadata["points3D_xyz"].double().tolist(),
    "transform": found.dataparser_transform.double().tolist(),
    "scale": found.dataparser_scale,
}, open(Path(sys.argv[2]) / "parsed.json", "w"))
"""

SPLATFACTO = """
import sys, torch
import torchmetrics.image.lpip as lpip
class NoWeights(torch.nn.Module):  # It would fetch weights from the network, and draws nothing.
    def __init__(self, **named): super().__init__()
lpip.LearnedPerceptualImagePatchSimilarity = NoWeights
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.splatfacto import SplatfactoModelConfig
box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
config = SplatfactoModelConfig(num_random=50, random_init=True, random_scale=2.0)
model = config.setup(scene_box=box, num_train_data=3)
pipeline = torch.nn.Module()
pipeline._model = model
torch.save({"step": 7, "pipeline": pipeline.state_dict(), "optimizers": {}, "schedulers": {}}, sys.argv[1])
with open(sys.argv[1] + ".means", "wb") as file:
    file.write(model.means.detach().numpy().tobytes())
"""

LOSSES = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]); events.Reload()
print(json.dumps([event.value for event in events.Scalars("Train Loss")]))
"""


@cache
def interpreter() -> Path:
    named = os.environ.get("H3D_NERFSTUDIO")
    if not named:
        pytest.skip("H3D_NERFSTUDIO is unset: it names a Python that has nerfstudio and h3d-view")
    asked = "import importlib.util as u, sys; sys.exit(not (u.find_spec('nerfstudio') and u.find_spec('h3d')))"
    done = subprocess.run([named, "-c", asked], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        pytest.skip(f"{named}: nerfstudio or h3d-view is not installed there; see assets/docs/nerfstudio.md")
    return Path(named)


def run(*words: str | Path) -> str:
    """What that interpreter prints; fails with its last lines."""
    done = subprocess.run(
        [interpreter(), *map(str, words)], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def train(data: Path, output: Path, steps: int, *words: str | Path) -> Path:
    """`ns-train h3d-gaussians`; returns the folder of the run."""
    command = ["-m", "nerfstudio.scripts.train", "h3d-gaussians", "--data", data, "--output-dir", output]
    command += ["--max-num-iterations", str(steps), "--vis", "tensorboard"]
    run(*command, "--viewer.quit-on-train-completion", "True", *words)
    (folder,) = (output / data.name / "h3d-gaussians").iterdir()
    return folder


def psnr(gaussians: Gaussians, data: Path) -> float:
    """Mean over the photos as our own reader has them."""
    found = []
    for posed in datasets.read(data).images:
        photo = pinhole_photo(posed, 1)
        rows = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
        options = RasterOptions(background=(1.0, 1.0, 1.0), depth=False, backend="cpu")
        seen = rasterize_gaussians(*rows, photo.viewmat[None], photo.K[None], *photo.size, options=options)
        found.append(float(losses.psnr(seen.rgb[0].clamp(0, 1), photo.over(torch.ones(3)))))
    return float(np.mean(found))


def test_our_cameras_and_points_are_those_of_nerfstudios_data_parser(tmp_path: Path):
    data = tmp_path / "data"
    write_processed_ball(data, k1=0.05, p2=-0.01)
    run("-c", PARSE, data, tmp_path)
    theirs = json.loads((tmp_path / "parsed.json").read_text())
    ours = datasets.read(data)
    transform, scale = np.array(theirs["transform"]), theirs["scale"]
    assert [posed.path.name for posed in ours.images] == theirs["names"]
    for posed, pose, K in zip(ours.images, np.array(theirs["poses"]), np.array(theirs["K"]), strict=True):
        moved = transform[:, :3] @ posed.camera_to_world[:3, :3] @ np.diag([1.0, -1.0, -1.0])
        np.testing.assert_allclose(moved, pose[:, :3], atol=1e-5)
        np.testing.assert_allclose(scale * (transform @ [*posed.position, 1.0]), pose[:, 3], atol=1e-5)
        np.testing.assert_allclose(posed.K, K, atol=1e-4)
    assert ours.points is not None
    moved = scale * (ours.points @ transform[:, :3].T + transform[:, 3])
    np.testing.assert_allclose(moved, theirs["points"], atol=1e-5)


def test_a_checkpoint_of_their_splatfacto_class_is_read(tmp_path: Path):
    path = tmp_path / "step-000000007.ckpt"
    run("-c", SPLATFACTO, path)
    read = formats.read(path)
    means = np.fromfile(f"{path}.means", np.float32).reshape(-1, 3)
    assert np.array_equal(read.means.numpy(), means) and len(read) == 50
    assert read.sh_degree == 3 and "splatfacto after 7 steps" in read.remark
    torch.testing.assert_close(read.opacities, torch.full((50,), 0.1))


def test_ns_train_runs_our_trainer_and_its_checkpoint_is_read_back_and_gone_on_with(tmp_path: Path):
    data = tmp_path / "data"
    write_processed_ball(data, cameras=16, size=64)
    folder = train(data, tmp_path / "first", 900)
    values = json.loads(run("-c", LOSSES, folder).splitlines()[-1])
    assert np.mean(values[-5:]) < 0.5 * values[0]
    # nerfstudio centres and scales; what was learnt shows the photos from where our own reader puts them.
    read = formats.read(folder)
    assert psnr(read, data) > 20.0

    longer = train(data, tmp_path / "second", 300, "--load-dir", folder / "nerfstudio_models")
    on = json.loads(run("-c", LOSSES, longer).splitlines()[-1])
    assert (longer / "nerfstudio_models" / "step-000001199.ckpt").is_file()
    assert on[0] < 0.5 * values[0]
    assert psnr(formats.read(longer), data) > psnr(read, data)


def test_the_method_imports_nothing_of_app_and_is_what_the_entry_point_names():
    imported = [
        node.module or "" for node in ast.walk(ast.parse(METHOD.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    assert not any(name.startswith("h3d.app") or name.split(".")[0] in ("", "viser", "gsplat") for name in imported)
    text = (METHOD.parents[1] / "pyproject.toml").read_text("utf-8")
    assert '"h3d.app.nerfstudio_method:gaussians"' in text
    assert "gaussians = MethodSpecification(" in METHOD.read_text("utf-8")

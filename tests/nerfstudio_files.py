"""Data sets as ns-process-data leaves them, of the posed ball, written from its documented layout and nothing else.

Photos in images, reduced copies in images_2 and images_4, transforms.json in a world that was turned on the way from
COLMAP's ("applied_transform"), points in sparse_pc.ply.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from posed_ball import RADIUS, _camera, photograph

APPLIED = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0]])
"""From COLMAP's world to the saved one, as colmap_to_json of nerfstudio 1.1.5 writes it."""
POINTS = 400
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def write_processed_ball(
    folder: Path, *, cameras: int = 12, size: int = 48, copies: tuple[int, ...] = (2, 4), **entries: Any
) -> list[np.ndarray]:
    """Writes the data set and returns its poses in COLMAP's world, OpenCV axes; None removes an entry."""
    poses, frames = [], []
    for index in range(cameras):
        camera = _camera(index, cameras, size)
        poses.append(camera.camera_to_world)
        name = f"frame_{index + 1:05d}.png"
        rgba = Image.fromarray(photograph(camera))
        picture = Image.new("RGB", rgba.size, "white")
        picture.paste(rgba, mask=rgba.getchannel("A"))
        for factor in (1, *copies):
            place = folder / ("images" if factor == 1 else f"images_{factor}") / name
            place.parent.mkdir(parents=True, exist_ok=True)
            picture.resize((size // factor, size // factor), Image.Resampling.BOX).save(place)
        saved = np.vstack([APPLIED, [0.0, 0.0, 0.0, 1.0]]) @ camera.camera_to_world @ OPENGL
        frames.append({
            "file_path": f"./images/{name}", "transform_matrix": saved.tolist(), "colmap_im_id": index + 1,
        })  # fmt: skip
    K = _camera(0, cameras, size).K
    meta = {
        "w": size, "h": size, "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
        "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "camera_model": "OPENCV", "frames": frames,
        "applied_transform": APPLIED.tolist(), "ply_file_path": "sparse_pc.ply",
    }  # fmt: skip
    meta = {key: value for key, value in (meta | entries).items() if value is not None}
    (folder / "transforms.json").write_text(json.dumps(meta, indent=4))
    _write_points(folder / "sparse_pc.ply")
    return poses


def ball_points() -> np.ndarray:  # [POINTS, 3]
    """Points on the ball, in COLMAP's world."""
    points = np.random.default_rng(0).normal(size=(POINTS, 3))
    return RADIUS * points / np.linalg.norm(points, axis=1, keepdims=True)


def _write_points(path: Path) -> None:
    """As create_ply_from_colmap does: text, in the saved world."""
    lines = ["ply", "format ascii 1.0", f"element vertex {POINTS}"]
    lines += [f"property float {axis}" for axis in "xyz"] + [f"property uint8 {c}" for c in ("red", "green", "blue")]
    lines.append("end_header")
    for point in ball_points():
        saved = APPLIED[:, :3] @ point
        lines.append(" ".join([*map(str, saved), "200", "100", "50"]))
    path.write_text("\n".join(lines) + "\n")

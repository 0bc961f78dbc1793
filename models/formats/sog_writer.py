"""Writing SOG version 2: the inverse of `sog`, with our own codebooks and palette. The layout is described there."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from h3d.models.gaussians import Gaussians

from .atomic import replacing
from .errors import FormatError
from .palette import codebook, palette
from .rows import sigmoid
from .smallest_three import drop_largest
from .spatial_order import morton_order

PALETTE_LIMIT = 1 << 16
PALETTE_WIDTH = 64
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Every part carries this time, so that the same scene gives the same bytes."""


def write(path: Path, value: Gaussians) -> None:
    """Writes a .sog, or a folder when `path` ends in meta.json; Gaussians in Morton order.

    Raises: FormatError when the folder already holds a scene: its parts could not be replaced all at once.
    """
    if path.name.lower() != "meta.json":
        with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in encoded(value).items():
                archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), data)
        return
    if path.exists():
        raise FormatError(path, "folder", "holds a scene already", "write to a new folder, or one file .sog")
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, data in encoded(value).items():
        with replacing(path.with_name(name)) as file:
            file.write(data)


def encoded(value: Gaussians) -> dict[str, bytes]:
    """Name to content of every part, meta.json last: without it a folder is no scene yet."""
    parts = [value.means, value.quats, value.log_scales, value.logit_opacities, value.sh]
    means, quats, log_scales, logits, sh = (part.detach().cpu().numpy() for part in parts)
    order = morton_order(means)
    count = len(order)
    files: dict[str, bytes] = {}
    meta: dict[str, Any] = {"version": 2, "asset": {"generator": "h3d-view"}, "count": count}
    if value.antialiased:
        meta["antialias"] = True
    meta["means"], fine, coarse = _means(means[order])
    scale_book, scale_labels = codebook(log_scales[order])
    color_book, color_labels = codebook(sh[order, 0])
    alphas = np.rint(sigmoid(logits[order]) * 255).astype(np.uint8)
    largest, rest = drop_largest(quats[order])
    packed = np.clip(np.rint((rest * 2**0.5 * 0.5 + 0.5) * 255), 0, 255).astype(np.uint8)
    textures = {
        "means_l.webp": fine,
        "means_u.webp": coarse,
        "scales.webp": scale_labels,
        "quats.webp": np.column_stack([packed, (252 + largest).astype(np.uint8)]),
        "sh0.webp": np.column_stack([color_labels, alphas]),
    }
    meta["scales"] = {"codebook": scale_book.tolist(), "files": ["scales.webp"]}
    meta["quats"] = {"files": ["quats.webp"]}
    meta["sh0"] = {"codebook": color_book.tolist(), "files": ["sh0.webp"]}
    files = {name: _texture(rows) for name, rows in textures.items()}
    if sh.shape[1] > 1:
        meta["shN"], more = _rest(sh[order, 1:])
        files |= more
    return {**files, "meta.json": json.dumps(meta).encode()}


def _means(means: np.ndarray) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:  # [N, 3]
    """Bounds, and the low and high bytes [N, 3] of 16-bit positions between them."""
    logs = np.copysign(np.log1p(np.abs(means.astype(np.float64))), means)
    low, high = logs.min(axis=0), logs.max(axis=0)
    fixed = np.rint((logs - low) / np.where(high > low, high - low, 1) * 65535).astype(np.uint16)
    bounds = {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]}
    return bounds, (fixed & 255).astype(np.uint8), (fixed >> 8).astype(np.uint8)


def _rest(rest: np.ndarray) -> tuple[dict[str, Any], dict[str, bytes]]:  # [N, K - 1, 3]
    """SH beyond degree 0: a palette, and each Gaussian's row of it."""
    count, bases = rest.shape[:2]
    centroids, labels = palette(rest.reshape(count, -1), min(PALETTE_LIMIT, count))
    book, indices = codebook(centroids)
    lines = -(-len(centroids) // PALETTE_WIDTH)
    image = np.zeros((lines * PALETTE_WIDTH, bases, 3), np.uint8)
    image[: len(centroids)] = indices.reshape(-1, bases, 3)
    split = np.column_stack([labels & 255, labels >> 8, np.zeros_like(labels)]).astype(np.uint8)
    entry = {
        "count": len(centroids),
        "bands": {3: 1, 8: 2, 15: 3}[bases],
        "codebook": book.tolist(),
        "files": ["shN_centroids.webp", "shN_labels.webp"],
    }
    files = {
        "shN_centroids.webp": _webp(image.reshape(lines, PALETTE_WIDTH * bases, 3)),
        "shN_labels.webp": _texture(split),
    }
    return entry, files


def _texture(rows: np.ndarray) -> bytes:  # [N, 3 or 4] uint8
    """Rows as texels of a picture whose sides are multiples of 4."""
    width = -(-int(np.ceil(np.sqrt(len(rows)))) // 4) * 4
    height = -(-len(rows) // (4 * width)) * 4
    texels = np.zeros((height * width, rows.shape[1]), np.uint8)
    texels[: len(rows)] = rows
    if rows.shape[1] == 4:
        texels[len(rows) :, 3] = 255
    return _webp(texels.reshape(height, width, -1))


def _webp(pixels: np.ndarray) -> bytes:  # [height, width, 3 or 4] uint8
    from PIL import Image

    buffer = io.BytesIO()
    # `exact` keeps the colour of transparent texels: alpha is data here.
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, exact=True, quality=80, method=3)
    return buffer.getvalue()

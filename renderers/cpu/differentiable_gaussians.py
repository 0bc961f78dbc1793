"""Differentiable Gaussians on the CPU: the kernels of gradients.h as one torch function a camera.

The forward pass leaves its projected Gaussians and sorted lists on a tape, which the backward pass walks along. The
door, `renderers/differentiable_gaussians.py`, has checked the arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from h3d.renderers.backends import kernels
from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.differentiable_gaussians import TrainingPictures
from h3d.renderers.gaussians import RasterOptions, Rendered, SplatScene

from .arrays import empty
from .gaussians import NEVER, Pictures, kernel_settings, posed

BAND_ENTRIES = 1 << 23
"""Entries whose gradients are held at once, 64 bytes each; a picture that needs more is made in bands of tiles."""

ROWS = ("means", "quats", "scales", "opacities", "sh", "features")
PICTURES = ("rgb", "alpha", "depth", "features")


def rasterize_for_training(
    rows: dict[str, torch.Tensor],  # by the names of ROWS
    viewmats: torch.Tensor,  # [C, 4, 4]
    Ks: torch.Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    *,
    options: RasterOptions,
    cancel: CancelFlag | None = None,
    slopes: bool = False,
) -> TrainingPictures:
    """See the door; `options.rect` is set. With `slopes`, `slope_squares` are filled in too."""
    size = (len(viewmats), len(rows["means"]))
    radii, norms, abs_norms = (torch.zeros(size) for _ in range(3))
    squares = torch.zeros(size) if slopes else None
    seen: list[tuple[torch.Tensor | None, ...]] = []
    for camera, viewmat in enumerate(viewmats):
        view = View(
            K=Ks[camera].detach().double().numpy(),
            width=width,
            height=height,
            options=options,
            cancel=cancel if cancel is not None else NEVER,
            radii=radii[camera],
            norms=norms[camera],
            abs_norms=abs_norms[camera],
            squares=None if squares is None else squares[camera],
        )
        outputs: Any = _Rasterize.apply(view, viewmat, *(rows.get(name) for name in ROWS))
        seen.append(outputs)
    rgb, alpha, depth, features = (_joined(pictures) for pictures in zip(*seen, strict=True))
    assert rgb is not None and alpha is not None
    return TrainingPictures(Rendered(rgb, alpha, depth, features), radii, norms, abs_norms, squares)


def _joined(pictures: tuple[torch.Tensor | None, ...]) -> torch.Tensor | None:  # C of [h, w, ...] -> [C, h, w, ...]
    """All cameras' pictures of one kind; that of one camera is not copied."""
    wanted = [picture for picture in pictures if picture is not None]
    if len(wanted) == 0:
        return None
    return wanted[0][None] if len(wanted) == 1 else torch.stack(wanted)


@dataclass(frozen=True, eq=False)
class View:
    """One camera's picture, and where to put what is seen and learnt there."""

    K: np.ndarray  # [3, 3]
    width: int
    height: int
    options: RasterOptions
    cancel: CancelFlag
    radii: torch.Tensor  # [N]
    norms: torch.Tensor  # [N]
    abs_norms: torch.Tensor  # [N]
    squares: torch.Tensor | None  # [N]

    def settings(self, scene: SplatScene) -> Any:
        settings = kernel_settings(kernels(), [scene], self.width, self.height, self.options)
        settings.intrinsics = [self.K[0, 0], self.K[1, 1], self.K[0, 2], self.K[1, 2]]
        settings.band_entries = BAND_ENTRIES
        return settings


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, view: View, viewmat: torch.Tensor, *rows: torch.Tensor | None) -> Any:
        held = [None if array is None else array.detach().contiguous() for array in rows]
        scene = SplatScene(*held)  # type: ignore[reportArgumentType]
        pictures = Pictures.empty([scene], 1, view.options)
        settings, tape = view.settings(scene), kernels().Tape()
        pose = posed(kernels(), scene, viewmat.detach().double().numpy())
        if kernels().rasterize([pose], settings, pictures.targets(kernels(), 0), view.cancel.address, tape) is None:
            raise Cancelled
        kernels().splat_radii(tape, settings, view.radii.numpy())
        values = [None if (value := getattr(pictures, name)) is None else value[0] for name in PICTURES]
        ctx.save_for_backward(viewmat, *held, *values)
        ctx.view, ctx.tape = view, tape
        ctx.set_materialize_grads(False)
        return tuple(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_values: torch.Tensor | None) -> Any:  # type: ignore[reportIncompatibleMethodOverride]
        viewmat, *saved = ctx.saved_tensors
        held, values = saved[: len(ROWS)], saved[len(ROWS) :]
        view, scene = ctx.view, SplatScene(*held)
        gradients: dict[str, torch.Tensor] = {
            name: empty(*array.shape)
            for name, array, wanted in zip(ROWS, held, ctx.needs_input_grad[2:], strict=True)
            if wanted and array is not None
        }
        arrays = gradients | {"norms": view.norms, "abs_norms": view.abs_norms}
        arrays |= {} if view.squares is None else {"squares": view.squares}
        if ctx.needs_input_grad[1]:
            arrays["camera"] = torch.empty(15, dtype=torch.float64)
        out, picture = kernels().GradientArrays(), kernels().PictureArrays()
        for name, array in arrays.items():
            setattr(out, name, array.numpy())
        for name, value, d_value in zip(PICTURES, values, d_values, strict=True):
            if value is not None:
                setattr(picture, name, value.detach().numpy())
            if d_value is not None:
                setattr(picture, f"d_{name}", d_value.contiguous().numpy())
        pose = posed(kernels(), scene, viewmat.detach().double().numpy())
        if not kernels().rasterize_backward(ctx.tape, pose, view.settings(scene), picture, out, view.cancel.address):
            raise Cancelled
        d_viewmat = _viewmat_gradient(viewmat, arrays["camera"].numpy()) if "camera" in arrays else None
        return None, d_viewmat, *(gradients.get(name) for name in ROWS)


def _viewmat_gradient(viewmat: torch.Tensor, camera: np.ndarray) -> torch.Tensor:  # [4, 4], [15] -> [4, 4]
    """Joins what the kernels give for [R | t] and for the eye, -R^-1 t, that directions start from."""
    matrix = viewmat.detach().double().numpy()[:3, :3]
    eye = -np.linalg.solve(matrix, viewmat.detach().double().numpy()[:3, 3])
    gradient = np.zeros((4, 4))
    gradient[:3] = camera[:12].reshape(3, 4)
    through = np.linalg.solve(matrix.T, camera[12:])
    gradient[:3, 3] -= through
    gradient[:3, :3] -= np.outer(through, eye)
    return torch.from_numpy(gradient).to(viewmat.dtype)

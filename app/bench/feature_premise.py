"""The premise of Hash3D, measured: how alike a denoiser's features are when only the camera or the timestep differ.

True views of held-out objects are noised with independent noise and denoised by the embedded model, told the reference;
the cosine similarity of the features at the cut (the input of the last up block's second resnet) is averaged over
objects by the distance of the two cameras' azimuths and of the timesteps. Source: Hash3D (arXiv 2404.06091), figure 2.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from h3d.models.diffusion import EmbeddedDenoiser, Subject, load_embedded, run_unet
from h3d.models.formats.atomic import replacing
from h3d.models.hash3d.cut import capturing
from h3d.models.procedural import HELD_OUT, make_object, render_views, view_camera
from h3d.models.training.references import picture_of_object

from .distilled_runs import POSE

OBJECTS = 8
ELEVATION, RADIUS = 15.0, 2.0
AZIMUTHS = np.arange(0.0, 360.0, 15.0)
TIMESTEPS = (100, 200, 300, 400, 500, 600, 700, 800, 900)
NAME = "premise"


def study(folder: Path) -> None:
    """Writes premise.csv, premise.png and premise.pdf."""
    denoiser = load_embedded()
    found = np.mean([similarities(denoiser, seed) for seed in list(HELD_OUT)[:OBJECTS]], axis=0)
    with replacing(folder / f"{NAME}.csv") as file:
        lines = [["azimuth_degrees_apart", *(f"timesteps_apart_{100 * k}" for k in range(found.shape[1]))]]
        lines += [[f"{15 * k}", *(f"{value:.4f}" for value in row)] for k, row in enumerate(found)]
        file.write("".join(",".join(line) + "\n" for line in lines).encode())
    _plot(folder, found)


@torch.no_grad()
def similarities(denoiser: EmbeddedDenoiser, seed: int) -> np.ndarray:
    """[13, 9] mean cosine similarity by azimuths (0 to 180 by 15 degrees) and timesteps (0 to 800 by 100) apart."""
    features = _features(denoiser, seed)  # [T, A, F], unit
    count = len(AZIMUTHS)
    sums, numbers = np.zeros((13, len(TIMESTEPS))), np.zeros((13, len(TIMESTEPS)))
    for i in range(len(TIMESTEPS)):
        for j in range(i, len(TIMESTEPS)):
            cosines = (features[i] @ features[j].T).numpy()
            for a in range(count):
                for b in range(count):
                    if i == j and a == b:  # The same feature, drawn once.
                        continue
                    apart = min(abs(a - b), count - abs(a - b))
                    sums[apart, j - i] += cosines[a, b]
                    numbers[apart, j - i] += 1
    with np.errstate(invalid="ignore"):
        return sums / numbers  # The same camera and timestep, twice, is what nothing was drawn of: nan.


def _features(denoiser: EmbeddedDenoiser, seed: int) -> torch.Tensor:
    size = denoiser.picture_size
    seen = render_views(make_object(seed).solid, [view_camera(a, ELEVATION, RADIUS, size) for a in AZIMUTHS])
    rgb = torch.from_numpy(seen.over(denoiser.background)).permute(0, 3, 1, 2).float()
    latents = denoiser.encode(rgb, torch.from_numpy(seen.alpha)[:, None].float())
    description = denoiser.describe(Subject(reference=picture_of_object(seed, POSE).reference))
    poses = torch.tensor([[a, ELEVATION, RADIUS] for a in AZIMUTHS], dtype=torch.float32)
    known, _ = denoiser.inputs(description, poses)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for timestep in TIMESTEPS:
        times = torch.full((len(AZIMUTHS),), timestep)
        noisy = denoiser.schedule.add_noise(latents, torch.randn(latents.shape, generator=generator), times)
        _, feature = capturing(denoiser.unet, partial(run_unet, denoiser.unet, noisy, times, known))
        found.append(functional.normalize(feature.flatten(1), dim=1))
    return torch.stack(found)


def _plot(folder: Path, found: np.ndarray) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(found.T, origin="lower", aspect="auto", cmap="viridis", extent=(-7.5, 187.5, -50, 850))
    axes.set_xlabel("cameras apart, degrees of azimuth")
    axes.set_ylabel("timesteps apart")
    axes.set_xticks(range(0, 181, 45))
    figure.colorbar(image, ax=axes, label="cosine similarity of features")
    for suffix in ("png", "pdf"):
        with replacing(folder / f"{NAME}.{suffix}") as file:
            figure.savefig(file, format=suffix, dpi=200)

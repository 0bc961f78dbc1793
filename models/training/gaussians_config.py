"""How Gaussians are learnt from posed photos: every setting of a run, most of them knobs (`h3d.models.knobs`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from h3d.models.datasets import Downscale
from h3d.models.density import DENSITY, ContinuousPruning, DefaultStrategy, McmcStrategy, Strategy
from h3d.models.knobs import Turn

from .compensating import CompensationTraining
from .hash_grid import Background

RATES, PICTURE, PHOTOS = "learning rates", "picture", "photos"
"""What knobs are shown together, beside `DENSITY`."""


@dataclass(frozen=True)
class GaussiansTraining:
    """How Gaussians are learnt; the defaults are for two CPU cores."""

    seed: int = 0
    means_rate: Annotated[float, Turn(RATES, 1e-7, 1e-2, logarithmic=True)] = 1.6e-4
    """Learning rate of places, times the scene's extent; down to a hundredth after `decay_steps`."""
    decay_steps: Annotated[int, Turn(RATES, 4, 1_000_000)] = 15_000
    """Steps after which places are learnt a hundredth as fast as at first."""
    scales_rate: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 5e-3
    """Learning rate of the logarithms of sizes."""
    quats_rate: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 1e-3
    """Learning rate of rotations."""
    opacities_rate: Annotated[float, Turn(RATES, 1e-5, 1.0, logarithmic=True)] = 5e-2
    """Learning rate of opacities, before their sigmoid."""
    sh_rate: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 2.5e-3
    """Learning rate of the constant colour; what depends on the direction has a twentieth."""
    strategy: Annotated[Literal["default", "mcmc"], Turn(DENSITY)] = "default"
    """How rows are added and removed: as 3DGS does, or as MCMC does."""
    cap: Annotated[int, Turn(DENSITY, 4, 10_000_000)] = 60_000
    """Rows at most; a lower one stops their growth and takes none away."""
    opacity_pull: Annotated[float, Turn(DENSITY, 1e-5, 1.0, logarithmic=True)] = 0.01
    """Of the mean opacity in the loss, with MCMC."""
    scale_pull: Annotated[float, Turn(DENSITY, 1e-5, 1.0, logarithmic=True)] = 0.01
    """Of the mean size in the loss, with MCMC."""
    default: DefaultStrategy = DefaultStrategy()
    """Of the strategy of that name; `cap` is its limit, and it pauses for as many steps as there are photos."""
    mcmc: McmcStrategy = McmcStrategy()
    """Of the strategy of that name; `cap` is its limit."""
    pruning: ContinuousPruning = ContinuousPruning()
    """By SUNDAE's band-stop while it learns, beside the strategy; off at first."""
    compensation: CompensationTraining = CompensationTraining()
    """A network that corrects pictures, learnt along; off at first."""
    initial_points: int = 10_000
    """Random ones, where the data set brings none."""
    downscale: Annotated[Downscale, Turn(PICTURE)] = "auto"
    """Photos are reduced by this factor; the run is judged at the size that it began with."""
    background: Annotated[Background, Turn(PICTURE)] = "random"
    """Behind transparent pixels; random teaches where nothing is, which on white pale rows take for theirs. Gaussians
    are judged on white, after a start on black on black."""
    ssim_share: Annotated[float, Turn(PICTURE)] = 0.2
    """Of 1 - SSIM in the loss; the rest is the mean absolute difference."""
    sh_degree: Annotated[int, Turn(PICTURE, 0, 3)] = 3
    """Of the harmonics by which colours depend on the direction."""
    sh_interval: Annotated[int, Turn(PICTURE, 4, 100_000)] = 500
    """Steps from one SH degree to the next."""
    antialiased: Annotated[bool, Turn(PICTURE)] = False
    """Learn for the antialiased rasteriser (Mip-Splatting)."""
    refine_cameras: Annotated[bool, Turn(PHOTOS)] = False
    """Whether the photos' cameras are moved a little too, for poses that are not exact."""
    exposure: Annotated[bool, Turn(PHOTOS)] = False
    """Whether an affine map of colours is learnt for each photo, for exposures that differ; judged ones get none."""

    backend: Literal["auto", "cpu", "cuda"] = "cpu"
    """What learns; auto = a CUDA GPU where gsplat works on one. The same seed gives the same bits on the cpu only."""

    def __post_init__(self) -> None:
        if not 0 <= self.sh_degree <= 3:
            raise ValueError(f"sh_degree {self.sh_degree}: must be 0 to 3")
        for name in ("cap", "initial_points", "sh_interval", "decay_steps"):
            if getattr(self, name) < 4:
                raise ValueError(f"{name} {getattr(self, name)}: must be 4 or more")


def strategy_of(config: GaussiansTraining, photos: int) -> Strategy:
    """The strategy that a config names, with its limits."""
    if config.strategy == "mcmc":
        return replace(config.mcmc, cap_max=config.cap)
    return replace(config.default, cap_max=config.cap, pause_after_reset=photos)

"""How a subject, seen by a denoiser alone, becomes 3D: every setting of a run, and the published schedules as presets.

Angles are degrees, timesteps shares of all (1 = all noise). What runs from one value to another does so evenly over
the steps that it names.
Sources: DreamGaussian (Tang et al. 2023, `main.py`), GaussianDreamer (Yi et al. 2023), threestudio
(stable-zero123.yaml), Magic123 (Qian et al. 2023). Poses, weights and rates are theirs; where they clone and split rows
by thresholds that their rasterisers count in other units, the strategy of this program does it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from h3d.models.density import DENSITY, DefaultStrategy, McmcStrategy, Strategy
from h3d.models.distillation import Weighting
from h3d.models.hash3d.config import Lookup, Reuse
from h3d.models.hash3d.retrieval import Weighting as Retrieval
from h3d.models.knobs import Turn

CACHE, GUIDANCE, CAMERAS, REFERENCE, RATES, PICTURE = (
    "cache",
    "guidance",
    "cameras",
    "reference",
    "learning rates",
    "picture",
)
"""What knobs are shown together, beside `DENSITY`."""
Preset = Literal["h3d", "dreamgaussian", "gaussiandreamer", "threestudio", "magic123"]
Scale = Annotated[float, Turn(GUIDANCE, 0.0, 100.0)]
Share = Annotated[float, Turn(GUIDANCE, 0.0, 1.0)]


@dataclass(frozen=True)
class CacheSettings:
    """The Hash3D cache around the denoiser; all of it may change at any step."""

    reuse: Annotated[Reuse, Turn(CACHE)] = "feature"
    """What is reused: features (the paper), the predicted noise (its ablation), or nothing."""
    eta: Annotated[float, Turn(CACHE)] = 0.9
    """Probability to try to retrieve; what is not tried or not found runs in full and is stored."""
    azimuth: Annotated[float, Turn(CACHE, 1.0, 180.0)] = 45.0
    """Cell size in degrees of azimuth."""
    elevation: Annotated[float, Turn(CACHE, 1.0, 90.0)] = 30.0
    """Cell size in degrees of elevation."""
    radius: Annotated[float, Turn(CACHE, 0.01, 4.0)] = 1.0
    """Cell size in the camera's distance, in units of the scene."""
    timesteps: Annotated[float, Turn(CACHE, 1.0, 1000.0)] = 250.0
    """Cell size in timesteps of the denoiser."""
    adaptive: Annotated[bool, Turn(CACHE)] = False
    """AdaptGrid: three grids at once, of this size, two thirds and a third of it; the most alike answers."""
    queue: Annotated[int, Turn(CACHE, 1, 16)] = 3
    """Entries of a cell (Q); the oldest leaves."""
    budget_mb: Annotated[int, Turn(CACHE, 1, 65_536)] = 512
    """Megabytes of all entries together; the least recently used leaves."""
    max_age: Annotated[int, Turn(CACHE, 0, 100_000)] = 0
    """Steps after which an entry leaves; 0 = never."""
    warm_up: Annotated[int, Turn(CACHE, 0, 10_000)] = 0
    """First steps that store and do not retrieve."""
    retrieval: Annotated[Retrieval, Turn(CACHE)] = "softmax"
    """How the entries of a cell answer: by a softmax of latent distances (the paper), without the square, or the
    nearest."""
    lookup: Annotated[Lookup, Turn(CACHE)] = "exact"
    """By cells, or as the published code does, whose hits come from unrelated cameras."""
    check_share: Annotated[float, Turn(CACHE)] = 0.0
    """Share of hits that are compared with a full pass, whose result is then used."""
    error_limit: Annotated[float, Turn(CACHE, 0.0, 1.0)] = 0.0
    """Relative error of checked hits above which a cell's eta falls; 0 = never."""
    unconditional_eta: Annotated[float, Turn(CACHE)] = 0.0
    """Probability that a pass which runs in full still takes its half without the subject from the cache."""
    warp: Annotated[bool, Turn(CACHE)] = False
    """Whether features are moved between views by the depth of what there is so far."""


@dataclass(frozen=True)
class Guidance:
    """One denoiser, and how it is listened to."""

    prior: str = "embedded"
    """The embedded denoiser, a .safetensors of its kind, or a folder of Stable Diffusion or Zero123; empty = none."""
    weight: Annotated[float, Turn(GUIDANCE, 0.0, 10.0)] = 1.0
    """Of its gradient."""
    scale: Scale = 2.0
    """Of classifier-free guidance: 1 = none, more follows the subject more closely."""
    weighting: Annotated[Weighting, Turn(GUIDANCE)] = "target"
    """w(t): 1 - a^2 (sds), 1, a (1 - a^2) (fantasia3d), or s/a, the pull towards the predicted picture."""
    low: Share = 0.98
    """Smallest timestep at first."""
    high: Share = 0.98
    """Largest timestep at first."""
    low_end: Share = 0.02
    """Smallest timestep once the schedule has run."""
    high_end: Share = 0.02
    """Largest timestep once the schedule has run."""
    schedule_from: Share = 0.0
    """Where the schedule begins, as a share of the run's steps."""
    schedule_to: Share = 1.0
    """Where the schedule ends, as a share of the run's steps."""

    def timesteps(self, progress: float) -> tuple[float, float]:
        """The range to draw from, as shares of all, after this share of the run."""
        span = max(self.schedule_to - self.schedule_from, 1e-9)
        done = min(max((progress - self.schedule_from) / span, 0.0), 1.0)
        low = self.low + done * (self.low_end - self.low)
        high = self.high + done * (self.high_end - self.high)
        return min(low, high), max(low, high)


@dataclass(frozen=True)
class Cameras:
    """Where the subject is looked at from; the embedded denoiser knows elevations -10 to 60 and distance 2."""

    elevation_low: Annotated[float, Turn(CAMERAS, -89.0, 89.0)] = -10.0
    """Degrees above the horizon, at least."""
    elevation_high: Annotated[float, Turn(CAMERAS, -89.0, 89.0)] = 60.0
    """Degrees above the horizon, at most."""
    radius_low: Annotated[float, Turn(CAMERAS, 1.0, 10.0)] = 2.0
    """Distance from the middle, at least."""
    radius_high: Annotated[float, Turn(CAMERAS, 1.0, 10.0)] = 2.0
    """Distance from the middle, at most."""
    fov_low: Annotated[float, Turn(CAMERAS, 10.0, 100.0)] = 49.1
    """Field of view in degrees, at least."""
    fov_high: Annotated[float, Turn(CAMERAS, 10.0, 100.0)] = 49.1
    """Field of view in degrees, at most."""
    batch: Annotated[int, Turn(CAMERAS, 1, 16)] = 1
    """Views of a step, their azimuths spread around the subject."""


@dataclass(frozen=True)
class GaussianRates:
    """How fast 3D Gaussians are learnt."""

    means: Annotated[float, Turn(RATES, 1e-6, 1e-1, logarithmic=True)] = 1e-2
    """Learning rate of places."""
    means_end: Annotated[float, Turn(RATES, 1e-6, 1e-1, logarithmic=True)] = 4e-4
    """The same at the end of the run."""
    scales: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 5e-3
    """Learning rate of the logarithms of sizes."""
    quats: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 5e-3
    """Learning rate of rotations."""
    opacities: Annotated[float, Turn(RATES, 1e-5, 1.0, logarithmic=True)] = 5e-2
    """Learning rate of opacities, before their sigmoid."""
    sh: Annotated[float, Turn(RATES, 1e-6, 1.0, logarithmic=True)] = 1e-2
    """Learning rate of colours."""


@dataclass(frozen=True)
class Distillation:
    """How 3D comes of a denoiser; the defaults are for the embedded one on two CPU cores."""

    seed: int = 0
    prompt: str = ""
    """What to make, in words; empty where a picture says it."""
    negative_prompt: str = ""
    """What it must not look like, for priors that read words."""
    elevation: float = 15.0
    """Degrees above the horizon that the reference picture was taken from, unless its file says so itself."""
    steps: Annotated[int, Turn(GUIDANCE, 1, 1_000_000)] = 500
    """Steps of the schedules; the run may go on after them, as they have ended."""
    guidance: Guidance = Guidance()
    second_guidance: Guidance = Guidance(prior="")
    cameras: Cameras = Cameras()
    rgb_weight: Annotated[float, Turn(REFERENCE, 0.0, 100_000.0)] = 1000.0
    """Of the mean squared difference from the reference picture."""
    alpha_weight: Annotated[float, Turn(REFERENCE, 0.0, 100_000.0)] = 500.0
    """Of the mean squared difference from its outline."""
    opaque_weight: Annotated[float, Turn(REFERENCE, 0.0, 100.0)] = 0.0
    """Of the pull that makes pixels either covered or not."""
    size: Annotated[int, Turn(PICTURE, 16, 1024)] = 128
    """Pixels along each side of rendered pictures, in the first part of the run."""
    middle_size: Annotated[int, Turn(PICTURE, 16, 1024)] = 128
    """The same in the middle part."""
    last_size: Annotated[int, Turn(PICTURE, 16, 1024)] = 128
    """The same in the last part."""
    middle_from: Annotated[float, Turn(PICTURE)] = 0.3
    """Where the middle part begins, as a share of the steps."""
    last_from: Annotated[float, Turn(PICTURE)] = 0.6
    """Where the last part begins."""
    hash3d: CacheSettings = CacheSettings()
    initial_points: int = 10_000
    """Gaussians at first, evenly in a ball."""
    initial_radius: float = 0.5
    """Of that ball; the subject lies within 0.75."""
    strategy: Annotated[Literal["default", "mcmc"], Turn(DENSITY)] = "mcmc"
    """How rows are added and removed: as 3DGS does, or as MCMC does."""
    cap: Annotated[int, Turn(DENSITY, 4, 10_000_000)] = 10_000
    """Rows at most."""
    default: DefaultStrategy = DefaultStrategy(
        refine_start=100, refine_stop=3000, grow_grad2d=0.01, prune_opacity=0.01, reset_every=700
    )
    """Of the strategy of that name."""
    mcmc: McmcStrategy = McmcStrategy(refine_start=50, refine_every=50, noise_rate=5e3)
    """Of the strategy of that name."""
    rates: GaussianRates = GaussianRates()
    field_rate: Annotated[float, Turn(RATES, 1e-5, 1.0, logarithmic=True)] = 1e-2
    """Learning rate of a hash-grid field."""

    def __post_init__(self) -> None:
        for name in ("steps", "initial_points", "size", "middle_size", "last_size"):
            if getattr(self, name) < 4 and name != "steps" or getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be {1 if name == 'steps' else 4} or more")
        if not -89.0 <= self.elevation <= 89.0:
            raise ValueError(f"elevation {self.elevation}: must be -89 to 89 degrees above the horizon")
        if self.guidance.prior == "":
            raise ValueError("guidance.prior: it is empty; name the embedded denoiser or a folder of weights")

    def size_at(self, progress: float) -> int:
        """Pixels along each side of what is rendered after this share of the run."""
        if progress < self.middle_from:
            return self.size
        return self.middle_size if progress < self.last_from else self.last_size


def strategy_of(config: Distillation) -> Strategy:
    """The strategy that a config names, with its limit."""
    return replace(config.mcmc if config.strategy == "mcmc" else config.default, cap_max=config.cap)


def preset(name: Preset, prior: str = "", second_prior: str = "") -> Distillation:
    """The schedule of that name; a prior is the embedded denoiser or a folder of weights, empty = the preset's usual.

    Raises:
        ValueError: it needs a folder and there is none.
    """
    config = PRESETS[name]
    if prior:
        config = replace(config, guidance=replace(config.guidance, prior=prior))
    if second_prior:
        second = config.second_guidance if name == "magic123" else replace(config.guidance, weight=0.5)
        config = replace(config, second_guidance=replace(second, prior=second_prior))
    if name == "magic123" and config.second_guidance.prior == "":
        raise ValueError("preset magic123: it listens to two denoisers; give --prior ZERO123 --second-prior DIFFUSION")
    return config


_ANNEALED = Guidance(scale=5.0, weighting="sds")
_UNIFORM = Guidance(scale=100.0, weighting="sds", low=0.02, low_end=0.02, high=0.98, high_end=0.98)
PRESETS: dict[Preset, Distillation] = {
    "h3d": Distillation(),
    "dreamgaussian": Distillation(
        guidance=_ANNEALED,
        cameras=Cameras(elevation_low=-30.0, elevation_high=30.0),
        rgb_weight=10_000.0,
        alpha_weight=1_000.0,
        size=128,
        middle_size=256,
        last_size=512,
        initial_points=5_000,
        strategy="default",
        cap=100_000,
    ),
    "gaussiandreamer": Distillation(
        steps=1200,
        guidance=replace(_UNIFORM, high_end=0.55, schedule_from=0.41, schedule_to=0.42),
        cameras=Cameras(
            elevation_low=-10.0,
            elevation_high=60.0,
            radius_low=1.5,
            radius_high=4.0,
            fov_low=40.0,
            fov_high=70.0,
            batch=4,
        ),
        opaque_weight=1.0,
        size=512,
        middle_size=512,
        last_size=512,
        strategy="default",
        cap=200_000,
        default=DefaultStrategy(
            refine_start=300, refine_stop=900, grow_grad2d=2e-4, prune_opacity=0.05, reset_every=100_000
        ),
        rates=GaussianRates(means=5e-5, means_end=2.5e-5, scales=5e-3, quats=1e-3, opacities=1e-2, sh=1.25e-2),
    ),
    "threestudio": Distillation(
        steps=600,
        guidance=Guidance(
            weight=0.1,
            scale=3.0,
            weighting="sds",
            low=0.7,
            high=0.98,
            low_end=0.3,
            high_end=0.8,
            schedule_from=1 / 12,
            schedule_to=1 / 3,
        ),
        cameras=Cameras(
            elevation_low=-10.0,
            elevation_high=80.0,
            radius_low=3.8,
            radius_high=3.8,
            fov_low=20.0,
            fov_high=20.0,
            batch=4,
        ),
        rgb_weight=500.0,
        alpha_weight=50.0,
        opaque_weight=0.5,
        size=64,
        middle_size=128,
        last_size=256,
        middle_from=1 / 3,
        last_from=1 / 2,
    ),
    "magic123": Distillation(
        steps=10_000,
        guidance=Guidance(scale=5.0, weighting="sds", low=0.2, low_end=0.2, high=0.6, high_end=0.6),
        second_guidance=Guidance(
            prior="", weight=0.025, scale=100.0, weighting="sds", low=0.2, low_end=0.2, high=0.6, high_end=0.6
        ),
        cameras=Cameras(
            elevation_low=-45.0, elevation_high=45.0, radius_low=2.5, radius_high=2.5, fov_low=40.0, fov_high=40.0
        ),
        rgb_weight=1_000.0,
        alpha_weight=100.0,
    ),
}

"""Score distillation as a trainer: a generator of steps that looks at the subject from a camera a step.

A step draws B cameras (and the reference's, where there is a reference picture), renders the scene from them, lets each
denoiser say what it would change (through its Hash3D cache), and takes the gradient of that, of the difference from the
reference, and of what keeps pixels either covered or clear.
Sources: Poole et al. 2022; Tang et al. 2023, section 3.1 (time annealed, reference losses); Qian et al. 2023 (two
denoisers at once).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic

import torch
from torch.nn import functional

from h3d.models.density import DENSITY
from h3d.models.diffusion import Reference, Subject
from h3d.models.distillation import distillation_loss
from h3d.models.hash3d import CacheView, Sight, view_of
from h3d.models.knobs import Knob, Setting, knobs_of, turned
from h3d.models.procedural import view_camera
from h3d.renderers.cameras import Camera
from h3d.renderers.threads import torch_threads

from . import Asset, Step
from .checkpoints import Reached, config_in, damaged, load_checkpoint, save_checkpoint
from .distilled_config import CACHE, Distillation
from .distilled_scene import DistilledScene, ScenePictures
from .guides import Guide
from .live import Live
from .loop import Advance, Trainer, steps

FORMAT = "h3d distillation 1"
SECOND = "second_guidance."
COVERED = 0.5
"""Alpha above which a pixel has a depth that features may be moved by."""
RECENT = 50
"""Elements of batches over which the hit rate of the timeline is taken."""


@dataclass(eq=False)
class DistilledState(Generic[Asset]):
    """All that changes during a run."""

    scene: DistilledScene[Asset]
    guides: list[Guide]
    config: Distillation  # as it is now
    generator: torch.Generator
    step: int = 0
    seconds: float = 0.0
    hits: tuple[bool, ...] = ()  # of the last tries, the newest last


class DistilledTrainer(Trainer[DistilledState[Asset], Asset]):
    """What stays the same through a run, and how a state advances."""

    def __init__(self, scene: type[DistilledScene[Asset]], subject: Subject, config: Distillation, name: str) -> None:
        self.scene, self.subject, self.config, self.name = scene, subject, config, name

    def start(self) -> DistilledState[Asset]:
        """The state before the first step. Raises: ValueError where a prior cannot be told the subject."""
        generator = torch.Generator().manual_seed(self.config.seed)
        made = self.scene(self.config, generator)  # pyright: ignore[reportCallIssue]
        return DistilledState(made, self._guides(self.config), self.config, generator)

    def _guides(self, config: Distillation) -> list[Guide]:
        listened = [guidance for guidance in (config.guidance, config.second_guidance) if guidance.prior != ""]
        return [Guide.of(guidance, self.subject, config.hash3d, config.seed) for guidance in listened]

    def advance(self, state: DistilledState[Asset]) -> Advance:
        """One step in place."""
        config, progress = state.config, min(state.step / state.config.steps, 1.0)
        size = config.size_at(progress)
        poses, cameras = _drawn(config, size, state.generator)
        reference, background = self.subject.reference, state.guides[0].denoiser.background
        if reference is not None:
            cameras = [*cameras, reference_camera(reference, size)]
        seen = state.scene.pictures(cameras, background, state.generator, depth=config.hash3d.warp)
        views = len(poses)
        loss = self._distilled(state, seen, poses, cameras, progress)
        if reference is not None:
            loss = loss + _reference_loss(config, seen.rgb[views:], seen.alpha[views:], reference, background)
        if config.opaque_weight > 0.0:
            loss = loss + config.opaque_weight * _half_covered(seen.alpha)
        state.step += 1
        noted, problem = state.scene.descend(loss, config, state.step, state.generator)
        return Advance(
            float(loss.detach()),
            samples=seen.samples,
            rays=size * size * len(cameras),
            count=state.scene.count,
            noted={DENSITY: noted} if noted else {},
            problem=problem,
        )

    def _distilled(
        self,
        state: DistilledState[Asset],
        seen: ScenePictures,
        poses: torch.Tensor,
        cameras: Sequence[Camera],
        progress: float,
    ) -> torch.Tensor:
        """What the denoisers say of the views, as a loss."""
        loss, views = seen.rgb.new_zeros(()), len(poses)
        guidances = (state.config.guidance, state.config.second_guidance)
        for guide, guidance in zip(state.guides, guidances, strict=False):
            with torch_threads():
                latents = guide.denoiser.encode(seen.rgb[:views], seen.alpha[:views])
                sights = _sights(seen, cameras[:views], latents.shape[-2:])
                gradient = guide.gradient(latents, poses, guidance, progress, state.generator, sights)
            loss = loss + distillation_loss(latents, gradient)
        tried = tuple(one.hit for one in state.guides[0].cache.last if one.tried)
        state.hits = (*state.hits, *tried)[-RECENT:]
        return loss

    def live(self, state: DistilledState[Asset]) -> Live:
        """Nearly all of the config may change at any step, rows may be edited, and the cache be looked at."""
        return Live(
            knobs=partial(_knobs, state),
            change=partial(self.change, state),
            facts=partial(_facts, state),
            edit=state.scene.edit,
            meters=partial(_meters, state),
            cache=partial(_cache_view, state),
        )

    def change(self, state: DistilledState[Asset], name: str, value: Setting) -> None:
        """Turn one of the knobs; see `Live`."""
        config = turned(state.config, name, value)
        for guide in state.guides:
            guide.turn(config.hash3d, config.seed)
        state.config = config

    def snapshot(self, state: DistilledState[Asset]) -> Asset:
        return state.scene.snapshot(f"distilled from {self.name}, {state.step} steps")

    def save(self, path: Path, state: DistilledState[Asset]) -> None:
        """Writes all of the state, whole or not at all, the caches into files beside it.

        An official cache is not kept: a run that goes on begins with an empty one.
        """
        names = []
        for index, guide in enumerate(state.guides):
            if guide.cache.config.lookup == "exact":
                names.append(f"{path.stem}.hash3d-{index}-{state.step}.safetensors")
                guide.cache.save(path.with_name(names[-1]))
        tensors = {f"scene.{name}": array for name, array in state.scene.tensors().items()}
        tensors["generator"] = state.generator.get_state()
        tensors["hits"] = torch.tensor(state.hits, dtype=torch.bool)
        at = Reached(state.step, state.seconds)
        save_checkpoint(path, FORMAT, self.config, at, tensors, now=asdict(state.config), caches=names)
        for old in path.parent.glob(f"{path.stem}.hash3d-*.safetensors"):
            if old.name not in names:
                old.unlink()

    def load(self, path: Path) -> DistilledState[Asset]:
        """The state that `save` wrote.

        Raises:
            FormatError: it is damaged, or of another run.
            OSError: the cache beside it is gone.
        """
        header, tensors = load_checkpoint(path, FORMAT, self.config)
        now = config_in(path, header, "now", Distillation)
        state = replace(self.start(), config=now)
        try:
            state.scene.restore(
                {name.removeprefix("scene."): array for name, array in tensors.items() if name.startswith("scene.")}
            )
            state.generator.set_state(tensors["generator"])
            state.step, state.seconds = int(header["step"]), float(header["seconds"])
            state.hits = tuple(tensors["hits"].tolist())
            names = list(header["caches"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(path, error) from error
        for guide in state.guides:
            guide.turn(now.hash3d, now.seed)
        for guide, name in zip(state.guides, names, strict=False):
            guide.cache.load(path.with_name(Path(name).name))
        return state


def train(
    scene: type[DistilledScene[Asset]],
    subject: Subject,
    config: Distillation,
    *,
    name: str,
    resume: Path | None = None,
) -> Iterator[Step[Asset]]:
    """Steps without end; the listener stops asking. `resume` is a checkpoint of a run of the same subject and config.

    All is done where steps are asked for: another run's cache may stand around the same denoiser until then.

    Raises:
        ValueError: a prior cannot be loaded or told the subject, or the checkpoint is damaged or of another run.
        RuntimeError: the loss is no longer a number.
    """
    trainer = DistilledTrainer(scene, subject, config, name)
    yield from steps(trainer, trainer.start() if resume is None else trainer.load(resume))


def reference_camera(reference: Reference, size: int) -> Camera:
    """Where the reference picture was taken from."""
    return view_camera(*reference.pose, size)


def _sights(seen: ScenePictures, cameras: Sequence[Camera], size: torch.Size) -> list[Sight] | None:
    """What the views see, at the size of the features; None where no depth was asked for."""
    if seen.depth is None:
        return None
    depth = torch.where(seen.alpha[:, 0].detach() > COVERED, seen.depth, 0.0)[:, None]
    depths = functional.interpolate(depth, tuple(size), mode="nearest-exact")[:, 0]
    return [
        Sight(torch.from_numpy(camera.camera_to_world), camera.fov_y_radians, depths[i].clone())
        for i, camera in enumerate(cameras)
    ]


def _drawn(config: Distillation, size: int, generator: torch.Generator) -> tuple[torch.Tensor, list[Camera]]:
    """Poses [B, 3] and cameras of a step: azimuths spread evenly around, all else by chance."""
    where, count = config.cameras, config.cameras.batch
    azimuth, elevation, radius, fov = torch.rand(4, count, dtype=torch.float64, generator=generator)
    azimuth = (azimuth + torch.arange(count)) * (360.0 / count)
    elevation = where.elevation_low + elevation * (where.elevation_high - where.elevation_low)
    radius = where.radius_low + radius * (where.radius_high - where.radius_low)
    fov = where.fov_low + fov * (where.fov_high - where.fov_low)
    poses = torch.stack([azimuth, elevation, radius], dim=1)
    cameras = [
        replace(view_camera(a, e, r, size), fov_y_radians=float(torch.deg2rad(f)))
        for (a, e, r), f in zip(poses.tolist(), fov, strict=True)
    ]
    return poses.float(), cameras


def _reference_loss(
    config: Distillation, rgb: torch.Tensor, alpha: torch.Tensor, reference: Reference, background: float
) -> torch.Tensor:
    """Squared differences of colour [1, 3, H, W] and outline [1, 1, H, W]."""
    size = rgb.shape[-2:]
    wanted = functional.interpolate(reference.over(background), size, mode="area")
    outline = functional.interpolate(reference.alpha[None], size, mode="area")
    return config.rgb_weight * (rgb - wanted).square().mean() + config.alpha_weight * (alpha - outline).square().mean()


def _half_covered(alpha: torch.Tensor) -> torch.Tensor:
    """Mean entropy of cover in bits: 0 where every pixel is covered or clear."""
    sure = alpha.clamp(1e-3, 1.0 - 1e-3)
    return -(sure * sure.log2() + (1.0 - sure) * (1.0 - sure).log2()).mean()


def _knobs(state: DistilledState[Asset]) -> dict[str, Knob]:
    """All but those of what is not in use, the cache's first; those of the second denoiser by themselves."""
    config, rows = state.config, state.scene.count > 0
    idle = ("default.",) if config.strategy == "mcmc" else ("mcmc.",)
    idle += ("field_rate",) if rows else ("default.", "mcmc.", "rates.", "strategy", "cap")
    idle += (SECOND,) if config.second_guidance.prior == "" else ()
    knobs = {name: knob for name, knob in knobs_of(config).items() if not name.startswith(idle)}
    knobs |= {n: replace(knob, group=f"second {knob.group}") for n, knob in knobs.items() if n.startswith(SECOND)}
    return dict(sorted(knobs.items(), key=lambda item: item[1].group != CACHE))


def _facts(state: DistilledState[Asset]) -> dict[str, str]:
    progress = min(state.step / state.config.steps, 1.0)
    low, high = (len(state.guides[0].denoiser.schedule) * end for end in state.config.guidance.timesteps(progress))
    size, passes = state.config.size_at(progress), state.guides[0].cache.passes
    elements = passes.full_elements + passes.hit_elements
    return {
        "picture": f"{size} x {size} pixels",
        "timesteps": f"{low:.0f} to {high:.0f}",
        "full passes": f"{passes.full_elements:,} of {elements:,} ({100 * passes.full_share:.0f} %)",
    }


def _meters(state: DistilledState[Asset]) -> dict[str, float]:
    """For the timeline of the cache: the first denoiser's."""
    cache = state.guides[0].cache
    passes, meters = cache.passes, {"cache MB": cache.table.nbytes / 1e6}
    if len(state.hits) > 0:
        meters["hit rate"] = sum(state.hits) / len(state.hits)
    if passes.full_rows > 0:
        rows = passes.full_rows + passes.hit_rows
        without = rows * passes.full_seconds / passes.full_rows
        meters["UNet time saved"] = 1.0 - (passes.full_seconds + passes.hit_seconds) / without
    return meters


def _cache_view(state: DistilledState[Asset]) -> CacheView:
    return view_of(state.guides[0].cache)

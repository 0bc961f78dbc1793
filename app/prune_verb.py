"""`h3d prune`: a smaller set of Gaussians, by the same criteria as the viewer's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from h3d.models import formats, meshes
from h3d.models.compensation import Size
from h3d.models.field_files import is_field
from h3d.models.formats import FormatError
from h3d.models.gaussians import Gaussians
from h3d.models.merging import merged
from h3d.models.meshing import Progress
from h3d.models.pruning import WITH_CAMERAS, Criterion, PruningOptions, keep_mask
from h3d.models.sundae import Signal, SpectrumOptions, Variant, cut_counts
from h3d.models.viewpoints import Viewpoints, all_around, of_dataset, seen_from
from h3d.renderers import Contributions

from .fine_tune import FineTuning, fine_tuned, settings_of
from .prune_report import Photos, report


@dataclass(frozen=True)
class PruneConfig:
    """Keep a share of the Gaussians of a file, those that matter by a criterion."""

    scene: tyro.conf.Positional[Path]
    """Gaussians (.ply, .splat, .ksplat, .spz, .sog), or the folder of a run of h3d train."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """File to write; its suffix is the format."""
    keep: float = 0.3
    """Share of the Gaussians that stays, 0 to 1."""
    band_stop: float = 0.5
    """Of those that stay, the share with the highest responses; the rest has the lowest. Of criterion band_stop."""
    criterion: Criterion = "band_stop"
    """What decides. band_stop: the spectrum of their graph (SUNDAE); the others keep the highest of their scores;
    hit_count, lightgaussian, mini_splatting, radsplat and sensitivity are scores of what cameras see."""
    merge: bool = False
    """Merge neighbours that are alike, instead of leaving any out; no criterion is asked then."""
    data: Path | None = None
    """Data set whose cameras are taken for criteria that need some, and whose photos --fine-tune learns from; none =
    synthetic cameras all around."""
    fine_tune: int | None = None
    """Train what stays for so many steps on the photos of --data, none added and none taken away; Ctrl-C writes what is
    there by then."""
    compensate: Size | None = None
    """After --fine-tune, learn on for as many steps with a network of this size, which corrects pictures of what is
    left; it is written beside the .ply and read with it."""
    report: bool = False
    """Write tables instead: shares kept, band-stop ratios, all criteria, each compared with the whole, and with
    --fine-tune after it too, without and with networks; the output is a folder, and a report that was interrupted goes
    on."""
    minutes: float | None = None
    """A report ends with the cut that it is at after so many; none = it goes through all of them."""
    graph: Variant = "local"
    """Of band_stop. local: k neighbours; paper and official: the radius graphs of SUNDAE's paper and code."""
    neighbours: int = 10
    """Of a Gaussian, for the graph local and for criterion density."""
    signals: tuple[Signal, ...] = ("means",)
    """Of band_stop: what is looked at on the graph."""
    seed: int = 0
    """Of criterion random, and of --fine-tune: the same seed gives the same file."""

    @property
    def options(self) -> PruningOptions:
        """Raises: ValueError for a value out of its range."""
        spectrum = SpectrumOptions(variant=self.graph, k=self.neighbours, signals=self.signals)
        return PruningOptions(spectrum=spectrum, k=self.neighbours, seed=self.seed)


def prune_command(
    config: PruneConfig, *, progress: Progress | None = None, told: Callable[[str], None] | None = None
) -> str:
    """Does what `h3d prune` was asked for; returns what was kept and by what, for a person.

    `progress` is told of what cameras see, `told` of the fine-tuning.

    Raises:
        ValueError: a flag or the scene is wrong (FormatError and DatasetError are ValueErrors).
        OSError: a file cannot be read or written.
        RuntimeError: the fine-tuning went astray.
    """
    options, wish = config.options, _checked(config)
    gaussians = _read(config.scene)
    if config.report:
        photos = None if wish is None else Photos(wish, settings_of(config.scene), config.criterion)
        views = _viewpoints(config, gaussians)
        return report(gaussians, views, config.output, options, photos, minutes=config.minutes, progress=progress)
    before = formats.file_bytes(config.scene)  # Asked now: the file may be the one that is written over.
    if sum(cut_counts(len(gaussians), config.keep, config.band_stop)) == 0:
        raise ValueError(f"--keep {config.keep}: of {len(gaussians):,} Gaussians none would stay; keep a larger share")
    if config.merge:
        pruned, by = merged(gaussians, config.keep, progress=progress), "merging"
    else:
        pruned, by = _cut(config, gaussians, options, progress)
    after = "before fine-tune"
    if wish is None:
        formats.write(config.output, pruned)
    else:
        after = fine_tuned(config.scene, config.output, gaussians, pruned, wish, told or (lambda text: None))
    if pruned.compensation is not None and not formats.keeps_compensation(config.output):
        after += ", without their compensation network, which only a .ply keeps"
    kept = f"{len(pruned):,} of {len(gaussians):,} Gaussians kept ({len(pruned) / len(gaussians):.1%})"
    size = f"{_mib(before)} before, {_mib(formats.file_bytes(config.output))} now"
    return f"{kept} by {by}; {size}; {after}"


def _cut(
    config: PruneConfig, gaussians: Gaussians, options: PruningOptions, progress: Progress | None
) -> tuple[Gaussians, str]:
    """The rows that stay, and what decided, for a person."""
    views = _viewpoints(config, gaussians) if config.criterion in WITH_CAMERAS else None
    seen = None if views is None else _seen(config, views, gaussians, progress)
    shares = {"keep": config.keep, "ratio": config.band_stop}
    mask = keep_mask(gaussians, config.criterion, **shares, options=options, seen=seen)
    return gaussians.keep(mask), _by(config, views, seen)


def _checked(config: PruneConfig) -> FineTuning | None:
    """How to fine-tune, where that is asked for. Raises: as `prune_command`, before anything is read."""
    cut_counts(0, config.keep, config.band_stop)
    if config.report:
        if config.output.exists() and not config.output.is_dir():
            raise ValueError(f"--report: {config.output} is a file; a report is a folder")
        if config.compensate is not None:
            raise ValueError("--report compares all networks where it fine-tunes; leave out --compensate")
    else:
        formats.check_output(config.output)
    if config.minutes is not None and not (config.report and config.minutes > 0.0):
        raise ValueError(f"--minutes {config.minutes}: ends a --report, and must be above 0")
    if config.compensate is not None and config.fine_tune is None:
        raise ValueError(
            f"--compensate {config.compensate}: the network learns from photos; add --fine-tune and --data"
        )
    if config.fine_tune is None:
        if config.data is not None and not config.report and (config.merge or config.criterion not in WITH_CAMERAS):
            named = f"leave it out, name {', '.join(WITH_CAMERAS)}, or add --fine-tune"
            what = "--merge" if config.merge else f"criterion {config.criterion}"
            raise ValueError(f"--data: {what} looks through no camera; {named}")
        return None
    if config.fine_tune < 1:
        raise ValueError(f"--fine-tune {config.fine_tune}: steps; must be 1 or more")
    if config.data is None:
        raise ValueError(f"--fine-tune {config.fine_tune}: there are no photos to learn from; add --data")
    if config.compensate is not None and not formats.keeps_compensation(config.output):
        raise ValueError(f"--compensate {config.compensate}: {config.output.name} cannot keep a network; write a .ply")
    return FineTuning(config.data, config.fine_tune, config.seed, config.compensate)


def _read(path: Path) -> Gaussians:
    what = "holds a field" if is_field(path) else "is a mesh" if meshes.is_mesh(path) else ""
    if what:
        raise FormatError(path, "file", f"{what}, of which no Gaussian can be left out", "give a splat file")
    return formats.read(path)


def _viewpoints(config: PruneConfig, gaussians: Gaussians) -> Viewpoints:
    return all_around(gaussians) if config.data is None else of_dataset(config.data, frame=gaussians.frame)


def _seen(config: PruneConfig, views: Viewpoints, gaussians: Gaussians, progress: Progress | None) -> Contributions:
    seen = seen_from(views, gaussians, sensitivity=config.criterion == "sensitivity", progress=progress)
    if not bool((seen.pixels > 0).any()):
        rule = f"{config.scene}: none of its Gaussians is seen by the {views.description}"
        raise ValueError(f"{rule}; give the data set that it was learnt from, or no --data")
    return seen


def _by(config: PruneConfig, views: Viewpoints | None, seen: Contributions | None) -> str:
    if views is not None and seen is not None:
        share = float((seen.pixels > 0).double().mean())
        return f"{config.criterion} ({views.description}; they see {share:.1%} of the Gaussians)"
    if config.criterion != "band_stop":
        return config.criterion
    graph = f"graph {config.graph}" + (f" of {config.neighbours} neighbours" if config.graph == "local" else "")
    return f"band_stop {config.band_stop:g} ({graph}, {' + '.join(config.signals)})"


def _mib(size: int) -> str:
    return f"{size / 2**20:.2f} MiB"

"""The table of what is measured. A workload yields its metrics as they come, or is `Skipped` with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import (
    distilled_runs,
    encoding,
    encoding_cuda,
    encodings_study,
    fields,
    frames,
    gaussian_gradients,
    gaussian_iteration,
    gaussian_training,
    hash3d,
    image_field,
    memory,
    peer_gsplat,
    peer_gsply,
    peer_nerfstudio,
    peer_viser,
    program,
    radiance_cache,
    reading,
    signed_distance,
    sundae,
    watched,
)
from .metrics import Effort, Metric


@dataclass(frozen=True)
class Workload:
    """One thing to measure."""

    prefixes: tuple[str, ...]
    """What the keys of its metrics begin with, the main one first."""
    run: Callable[[Effort], Iterator[Metric]]
    only_by_name: bool = False
    """Left out where nothing is named: it takes longer than all others together."""


WORKLOADS = (
    Workload(("gaussians/frame/demo", "gaussians/stage/demo"), frames.demo),
    Workload(("gaussians/frame/biker", "gaussians/stage/biker"), frames.biker),
    Workload(("gaussians/frame/playbot", "gaussians/stage/playbot"), frames.playbot),
    Workload(("gaussians/growth",), frames.growth),
    Workload(("gaussians/million",), frames.million),
    Workload(("gaussians/train/forward",), gaussian_gradients.forward_backward),
    Workload(("gaussians/train/iteration",), gaussian_iteration.iteration),
    Workload(("gaussians/train/loss",), gaussian_training.loss),
    Workload(
        ("gaussians/train/adam", "gaussians/train/refine", "gaussians/train/mcmc"),
        gaussian_training.rows,
    ),
    Workload(("fields/encode",), encoding.encode),
    Workload(("fields/encode_cuda",), encoding_cuda.encode),
    Workload(("fields/mlp",), encoding.networks),
    Workload(("fields/frame",), fields.frame),
    Workload(("fields/train",), fields.curves),
    Workload(("viewer/training",), watched.fields),
    Workload(("viewer/gaussian_training",), watched.gaussians),
    Workload(("image/train/albert", "image/frame"), image_field.albert),
    Workload(("image/train/gigapixel",), image_field.gigapixel),
    Workload(("formats/read",), reading.formats_read),
    Workload(("memory",), memory.bytes_per_gaussian),
    Workload(("sdf/train/armadillo", "sdf/frame/armadillo"), signed_distance.armadillo),
    Workload(("hash3d/hit_multiply_adds_share",), hash3d.costs),
    Workload(("hash3d/hit_time_share", "hash3d/lookup_share", "hash3d/statistics_ms"), hash3d.times),
    Workload(("hash3d/sphere_10000_cells_ms",), hash3d.sphere),
    Workload(
        (
            "hash3d/full_pass_share",
            "hash3d/unet_speedup",
            "hash3d/run_speedup",
            "hash3d/psnr_change_db",
            "hash3d/psnr_over_copying_db",
        ),
        distilled_runs.runs,
    ),
    Workload(("radiance_cache",), radiance_cache.gap),
    Workload(("sundae/response", "sundae/mask"), sundae.responses),
    Workload(("sundae/cached",), sundae.cached),
    Workload(("sundae/drag",), sundae.drag),
    Workload(("sundae/compensated",), sundae.compensated),
    Workload(("viewer/first_picture",), program.first_picture),
    Workload(("viewer/move_to_picture",), program.move_to_picture),
    Workload(("viewer/held_frames",), program.held_frames),
    Workload(("peers/gsplat_torch",), peer_gsplat.gsplat_torch),
    Workload(("peers/gsplat_torch/iteration",), gaussian_iteration.against_torch),
    Workload(("peers/gsply",), peer_gsply.gsply),
    Workload(("peers/scipy",), sundae.against_scipy),
    Workload(("peers/viser_webgl",), peer_viser.viser_webgl),
    Workload(("peers/nerfstudio",), peer_nerfstudio.nerfstudio),
    Workload(("study",), encodings_study.encodings, only_by_name=True),
)


def chosen(only: str) -> list[Workload]:
    """The workloads that can have a metric whose key begins with `only`.

    Raises:
        ValueError: there is none; the sentence lists what there is.
    """
    offered = [w for w in WORKLOADS if only or not w.only_by_name]
    found = [w for w in offered if any(p.startswith(only) or only.startswith(p) for p in w.prefixes)]
    if not found:
        known = ", ".join(prefix for w in WORKLOADS for prefix in w.prefixes)
        raise ValueError(f"--only {only}: no workload begins with it; there are {known}")
    return found

"""Fine-tuning: Gaussians that are given, such as those that a pruning left, learn from photos as late in a usual run.

None is added or taken away, moments begin anew, places are learnt a hundredth as fast as at the start of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from h3d.models.density import ContinuousPruning, DefaultStrategy
from h3d.models.gaussians import Gaussians

from .compensating import CompensationTraining
from .gaussians_state import Beginning
from .gaussians_task import GaussiansTask

OF_PHOTOS = ("background", "downscale", "ssim_share")
"""Settings of the run that made the Gaussians which hold on: what it was shown, and how that was compared."""


def fine_tuning(
    data: Path,
    gaussians: Gaussians,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    compensation: CompensationTraining | None = None,
) -> GaussiansTask:
    """The task of learning these Gaussians on; of a run's `settings` those of its photos are taken.

    With a `compensation` its network is learnt along; None = one that the Gaussians have is learnt on.

    Raises:
        DatasetError: there is no data set, or it is damaged.
        ValueError: a setting is wrong.
    """
    kept = {name: value for name, value in (settings or {}).items() if name in OF_PHOTOS}
    task = GaussiansTask.open(data, kept)
    config = replace(
        task.config,
        seed=seed,
        sh_degree=gaussians.sh_degree,
        antialiased=gaussians.antialiased,
        strategy="default",
        default=DefaultStrategy(refine_stop=0),
        pruning=ContinuousPruning(),
        compensation=_as_they_have(gaussians) if compensation is None else compensation,
    )
    late = max(config.decay_steps, config.sh_degree * config.sh_interval)
    return replace(task, config=config, beginning=Beginning(gaussians, late))


def _as_they_have(gaussians: Gaussians) -> CompensationTraining:
    if gaussians.compensation is None:
        return CompensationTraining()
    plan = gaussians.compensation.plan
    return CompensationTraining(plan.size, plan.form, plan.features)

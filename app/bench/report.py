"""The printed tables of a run: one line a metric, with the goal it is to meet and how it stands to the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .baseline import Verdict
from .metrics import Metric

GOALS = {
    "gaussians/frame/biker_640x360_ms": 40.0,
    "gaussians/frame/playbot_640x360_ms": 40.0,
    "gaussians/frame/biker_1280x720_ms": 1000 / 14,
    "gaussians/frame/playbot_1280x720_ms": 1000 / 14,
    "gaussians/million_640x360_fps": 4.0,
    "gaussians/train/forward_backward_50k_400_ms": 40.0,
    "memory/bytes_per_gaussian": 400.0,
    "viewer/first_picture_s": 10.0,
    "viewer/move_to_picture_p50_ms": 80.0,
    "viewer/move_to_picture_p95_ms": 150.0,
    "viewer/held_frames_when_not_reading": 2.0,
    "fields/frame/lego_320x180_ms": 1000 / 6,
    "fields/frame/lego_near_320x180_ms": 1000 / 6,
    "fields/train/lego/psnr_at_5min": 27.5,
    "fields/train/lego/psnr_at_20min": 30.0,
    "fields/train/fox/psnr_at_10min": 22.0,
    "sdf/train/armadillo/surface_error_5min": 0.002,
    "sdf/train/armadillo/iou_5min": 0.99,
    "sdf/frame/armadillo_320x180_ms": 1000 / 6,
    "radiance_cache/mse_ratio/gap_1s": 2.0,
    "radiance_cache/mse_ratio/gap_4s": 2.0,
    "peers/nerfstudio/encode_forward_T14": 60.0,
    "peers/nerfstudio/encode_forward_T19": 20.0,
    "peers/nerfstudio/encode_forward_backward_T14": 15.0,
    "peers/nerfstudio/encode_forward_backward_T19": 12.0,
}
"""What the program promises on two cores without a GPU, in the unit and direction of the metric."""


def meets(metric: Metric) -> bool | None:
    """Whether a promise is kept; None where there is none."""
    goal = GOALS.get(metric.key)
    if goal is None:
        return None
    return metric.value <= goal if metric.direction == "lower" else metric.value >= goal


def line(metric: Metric) -> str:
    """`key  value unit  goal`."""
    kept = meets(metric)
    goal = ""
    if kept is not None:
        sign = "<=" if metric.direction == "lower" else ">="
        goal = f"   goal {sign} {GOALS[metric.key]:.4g}: {'met' if kept else 'MISSED'}"
    return f"{metric.key:<58} {_number(metric.value):>10} {metric.unit:<9}{goal}"


def growth_table(metrics: Mapping[str, Metric]) -> list[str]:
    """Milliseconds per million Gaussians against their number: a flat column is linear growth."""
    prefix = "gaussians/growth/"
    rows = [
        (key[len(prefix) : -3], metric.value)
        for key, metric in metrics.items()
        if key.startswith(prefix) and metric.unit == "ms"
    ]
    if not rows:
        return []
    lines = ["", "Gaussians    ms a frame    ms per million"]
    return lines + [f"{name:>9} {value:>13.1f} {value / _millions(name):>17.1f}" for name, value in rows]


def verdict_lines(verdicts: Iterable[Verdict]) -> list[str]:
    """Every verdict, the ones that are worse marked."""
    lines = ["", f"{'against the baseline, at the speed of this machine':<58} {'measured':>10} {'expected':>10}"]
    for verdict in verdicts:
        mark = "  WORSE" if verdict.worse else ""
        metric = verdict.metric
        numbers = f"{_number(metric.value):>10} {_number(verdict.expected):>10} {metric.unit:<9}"
        lines.append(f"{metric.key:<58} {numbers} {verdict.change:5.2f}x as good{mark}")
    return lines


def _millions(name: str) -> float:
    return float(name[:-1]) * (1.0 if name.endswith("m") else 1e-3)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"

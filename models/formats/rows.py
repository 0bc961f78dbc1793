"""The last step of every reader and the first of every writer: rows that are finite, normalisable and in range.

N Gaussians, K SH bases. A reader hands over float32 arrays and gets a `Gaussians`, or a `FormatError` that names the
first bad vertex. Two infinities have a meaning and are kept as the nearest finite value, since exporters write them
for opacity exactly 0 or 1 (logit -inf, inf) and for a size of exactly 0 (log -inf).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h3d.models.gaussians import Gaussians, from_rows

from .errors import REEXPORT, FormatError

SH_BASES = {0: 1, 1: 4, 2: 9, 3: 16}
LOGIT_LIMIT = 13.815510557964274
"""logit(1 - 1e-6): what an opacity of exactly 1 becomes (its negative for 0)."""
LOG_SCALE_FLOOR = -20.0
"""What a size of exactly 0 becomes: exp(-20) = 2e-9 units."""
LOG_SCALE_CEILING = 80.0
"""Above it exp overflows float32 once squared or multiplied."""
EXPANSION = 64
"""Decoded rows may take at most this many times the bytes of the file: what an honest file never reaches."""
ALWAYS_ALLOWED = 64 << 20
"""Bytes of decoded rows that any file may declare, however small it is."""


def checked(
    path: Path | str,
    *,
    means: np.ndarray,  # [N, 3]
    quats: np.ndarray,  # [N, 4] wxyz
    log_scales: np.ndarray,  # [N, 3]
    logit_opacities: np.ndarray,  # [N]
    sh: np.ndarray,  # [N, K, 3]
    antialiased: bool = False,
    remark: str = "",
) -> Gaussians:
    """The arrays (float32, owned by the caller, changed in place) as Gaussians.

    Raises: FormatError naming the first vertex with a value that no Gaussian can have.
    """
    if len(means) == 0:
        raise FormatError(path, "vertices", "the file holds 0 Gaussians", REEXPORT)
    _require_finite(path, "position", means)
    _require_finite(path, "spherical harmonics", sh)
    _tame(path, "size", log_scales, LOG_SCALE_FLOOR, None)
    _tame(path, "opacity", logit_opacities, -LOGIT_LIMIT, LOGIT_LIMIT)
    if log_scales.max() > LOG_SCALE_CEILING:
        row = int(np.argmax(log_scales.max(axis=1) > LOG_SCALE_CEILING))
        rule = f"size is exp({log_scales[row].max():g}), which overflows"
        raise FormatError(path, f"vertex {row}", rule, REEXPORT)
    _make_normalisable(path, quats)
    return from_rows(
        means=means,
        quats=quats,
        log_scales=log_scales,
        logit_opacities=logit_opacities,
        sh=sh,
        antialiased=antialiased,
        remark=remark,
    )


def require_room(path: Path | str, count: int, degree: int, file_bytes: int) -> None:
    """Refuses a compressed file whose declared rows would take far more memory than its bytes can honestly hold."""
    decoded = count * row_bytes(degree)
    if decoded > max(ALWAYS_ALLOWED, EXPANSION * file_bytes):
        rule = f"declares {count:,} Gaussians in {file_bytes:,} bytes, {decoded // max(file_bytes, 1):,} times its size"
        raise FormatError(path, "header", rule, REEXPORT)


def row_bytes(degree: int) -> int:
    """Bytes of one decoded Gaussian: position, quaternion, size, opacity, SH and id."""
    return 4 * (3 + 4 + 3 + 1 + 3 * SH_BASES[degree]) + 8


def logit(alpha: np.ndarray | np.float32) -> np.ndarray:
    """Inverse of `sigmoid`; alpha exactly 0 or 1 gives -+LOGIT_LIMIT."""
    inner = np.clip(np.asarray(alpha, np.float64), 1e-6, 1 - 1e-6)
    return np.log(inner / (1 - inner)).astype(np.float32)


def sigmoid(value: np.ndarray) -> np.ndarray:
    """Inverse of `logit`, without overflow at either end."""
    return 0.5 + 0.5 * np.tanh(0.5 * value)


def linear_to_log(path: Path | str, scales: np.ndarray) -> np.ndarray:  # [N, 3] -> [N, 3]
    """Natural logarithm of linear sizes; exactly 0 becomes exp(LOG_SCALE_FLOOR).

    Raises: FormatError naming the first vertex with a negative size.
    """
    negative = (scales < 0).any(axis=1)
    if negative.any():
        row = int(np.argmax(negative))
        raise FormatError(path, f"vertex {row}", f"size is {scales[row].min():g}, must not be negative", REEXPORT)
    return np.log(scales)


def _require_finite(path: Path | str, what: str, values: np.ndarray) -> None:  # [N, ...]
    if np.isfinite(values.sum(dtype=np.float32)):
        return
    flat = values.reshape(len(values), -1)
    for start in range(0, len(flat), 1 << 16):
        bad = ~np.isfinite(flat[start : start + (1 << 16)]).all(axis=1)
        if bad.any():
            row = start + int(np.argmax(bad))
            value = flat[row][~np.isfinite(flat[row])][0]
            raise FormatError(path, f"vertex {row}", f"{what} is {value}, must be finite", REEXPORT)


def _tame(path: Path | str, what: str, values: np.ndarray, low: float, high: float | None) -> None:
    """-inf becomes `low`; inf becomes `high` or, where there is none, is refused with NaN."""
    if np.isfinite(values.sum(dtype=np.float32)):
        return
    values[np.isneginf(values)] = low
    if high is not None:
        values[np.isposinf(values)] = high
    _require_finite(path, what, values)


def _make_normalisable(path: Path | str, quats: np.ndarray) -> None:  # [N, 4]
    """Scales quaternions whose squared length would over- or underflow; refuses zero, NaN and inf."""
    squared = np.einsum("nk,nk->n", quats, quats)
    odd = np.flatnonzero(~((squared > 1e-20) & (squared < 1e20)))
    if len(odd) == 0:
        return
    largest = np.abs(quats[odd]).max(axis=1)
    bad = ~(np.isfinite(largest) & (largest > 0))
    if bad.any():
        row = int(odd[np.argmax(bad)])
        value = "all zero" if largest[np.argmax(bad)] == 0 else "not finite"
        raise FormatError(path, f"vertex {row}", f"rot_0..3 (its quaternion) is {value}", REEXPORT)
    quats[odd] /= largest[:, None]

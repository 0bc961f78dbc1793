"""The three graphs of SUNDAE from their formulas, pair by pair in float64: slow and obvious. Dense matrices [N, N]."""

from __future__ import annotations

import numpy as np

SKIPPED = 1e-5


def distances(points: np.ndarray) -> np.ndarray:  # [N, 3] -> [N, N]
    wide = points.astype(np.float64)
    found = np.zeros((len(wide), len(wide)))
    for i in range(len(wide)):
        for j in range(len(wide)):
            found[i, j] = np.sqrt(np.sum((wide[i] - wide[j]) ** 2))
    return found


def local_response(points: np.ndarray, k: int, signal: np.ndarray) -> np.ndarray:  # [N]
    """|x - D^-1 A x| with A = (W + W^T) / 2."""
    d, count = distances(points), len(points)
    W = np.zeros((count, count))
    for i in range(count):
        near = sorted((d[i, j], j) for j in range(count) if j != i)[: min(k, count - 1)]
        scale2 = sum(length**2 for length, _ in near) / max(len(near), 1)
        for length, j in near:
            W[i, j] = np.exp(-(length**2) / (2 * scale2)) if scale2 > 0 else 1.0
    A = (W + W.T) / 2
    response = np.zeros(count)
    for i in range(count):
        if A[i].sum() > 0:
            response[i] = np.linalg.norm(signal[i] - A[i] @ signal / A[i].sum())
    return response


def closest(d: np.ndarray) -> list[float]:
    """Of each point the distance to its nearest, without those that coincide."""
    nearest = [min((d[i, j] for j in range(len(d)) if j != i), default=0.0) for i in range(len(d))]
    return [length for length in nearest if length > SKIPPED]


def paper_matrix(points: np.ndarray) -> np.ndarray:
    """A of eq. 3, divided by its norm."""
    d, count = distances(points), len(points)
    tau = 10 * min(closest(d), default=0.0)
    edges = [(i, j) for i in range(count) for j in range(i + 1, count) if d[i, j] < tau]
    variance = np.var([d[i, j] for i, j in edges]) if edges else 0.0
    A = np.zeros((count, count))
    for i, j in edges:
        A[i, j] = A[j, i] = np.exp(-(d[i, j] ** 2) / (2 * variance)) if variance > 0 else 1.0
    return A / np.linalg.norm(A, 2) if edges else A


def paper_response(points: np.ndarray, signal: np.ndarray) -> np.ndarray:  # [N]
    return np.linalg.norm(signal - paper_matrix(points) @ signal, axis=1)


def official_matrix(points: np.ndarray, most_of_a_row: int = 100) -> np.ndarray:
    """A of the official code."""
    d, count = distances(points), len(points)
    apart = closest(d)
    if not apart:
        return np.zeros((count, count))
    least, greatest = min(apart), max(apart)
    radius2 = min(10 * least, 2 * greatest) if least != greatest else 2 * (5 * least)
    edges = []
    for i in range(count):
        row = sorted((d[i, j], j) for j in range(i + 1, count) if d[i, j] ** 2 < radius2)
        edges += [(i, j) for _, j in row[:most_of_a_row]]
    variance = np.var([d[i, j] ** 2 for i, j in edges]) if edges else 0.0
    A = np.zeros((count, count))
    for i, j in edges:
        A[i, j] = A[j, i] = np.exp(-(d[i, j] ** 4) / (2 * variance)) if variance > 0 else 1.0
    return A


def official_response(points: np.ndarray, signal: np.ndarray, most_of_a_row: int = 100) -> np.ndarray:  # [N]
    """|(D - A) x|."""
    A = official_matrix(points, most_of_a_row)
    return np.linalg.norm((np.diag(A.sum(axis=1)) - A) @ signal, axis=1)

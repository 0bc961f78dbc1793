"""Our graph: k nearest neighbours, each row's weights on its own scale, normalised as a random walk.

    W_ij = exp(-d_ij^2 / (2 s_i^2)), s_i the root mean square of row i's k distances, 0 for other pairs
    A = (W + W^T) / 2, D_i = sum_j A_ij, response_i = |x_i - sum_j A_ij x_j / D_i|

Against the paper's graph (a radius and one scale for all, taken from the closest pair) no row is isolated, however
uneven the density, and the result does not change with the scene's units. D_i is never 0 with two rows or more: no
distance is above sqrt(k) s_i, so that every weight of a row itself is at least exp(-k / 2).
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from h3d.models.neighbours import Neighbours

CHUNK = 1 << 18


def high_pass(neighbours: Neighbours, signal: np.ndarray) -> np.ndarray:  # [N, F] float64 -> [N] float32
    """The length of every row's response, in the signal's units; 0 where there is no other row.

    Sums are in float64: far from the origin float32 would lose the difference between neighbours.
    """
    count, k = neighbours.indices.shape
    if k == 0:
        return np.zeros(count, np.float32)
    values = np.ones((count, signal.shape[1] + 1))  # With the ones, the last sum is the degree.
    values[:, :-1] = signal[neighbours.order]
    values[:, :-1] -= values[:, :-1].mean(axis=0)
    sums = np.zeros_like(values)
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        weights = row_weights(neighbours.distances[rows])
        begins = np.arange(0, weights.size + 1, k, dtype=np.int32)
        part = csr_array((weights.ravel(), neighbours.indices[rows].ravel(), begins), shape=(len(weights), count))
        sums[rows] += part @ values
        sums += part.T @ values[rows]
    response = np.linalg.norm(values[:, :-1] - sums[:, :-1] / sums[:, -1:], axis=1)
    return neighbours.by_point(response.astype(np.float32))


def row_weights(distances: np.ndarray) -> np.ndarray:  # [n, k] -> [n, k] float64
    """exp(-d^2 / (2 s^2)); 1 where all k neighbours coincide with the row."""
    far = distances.astype(np.float64)
    variance = np.mean(np.square(far), axis=1, keepdims=True)
    return np.exp(-0.5 * np.square(far) / np.where(variance > 0.0, variance, 1.0))

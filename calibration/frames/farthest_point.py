"""Farthest-point sampling: few points such that no other is far from all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def farthest_point(
    points: NDArray[np.float32],
    count: int,
    *,
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Choose points, each the farthest from those before it.

    Every prefix of the result is such a choice itself. Of equally far points the one with the lowest index is taken.
    Without groups, the largest distance from any point to its nearest chosen one is at most twice the minimum for that
    count. With groups (one per source), each gives at most its fair share; see :func:`fair_shares`.

    Args:
        points: ``(N, D)`` float32, compared by Euclidean distance.
        count: Points to choose, at most N.
        rng: Draws the first point.
        groups: ``(N,)`` int64 group of each point; ``None`` for one group.

    Returns:
        ``(min(count, N),)`` int64 indices in the order of choice.

    Reference: Gonzalez, Clustering to minimize the maximum intercluster distance, Theoretical Computer Science, 1985;
    the shares of groups are an addition.
    """
    total = len(points)
    count = min(count, total)
    if count <= 0:
        return np.empty(0, dtype=np.int64)
    group = np.zeros(total, dtype=np.int64) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    left = fair_shares(np.bincount(group), count)
    chosen = np.empty(count, dtype=np.int64)
    nearest = np.full(total, np.inf, dtype=np.float32)
    current = int(rng.integers(total))
    for step in range(count):
        chosen[step] = current
        nearest = np.minimum(nearest, np.linalg.norm(points - points[current], axis=1))
        nearest[current] = -1
        left[group[current]] -= 1
        if left[group[current]] == 0:
            nearest[group == group[current]] = -1
        current = int(np.argmax(nearest))
    return chosen


def fair_shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The most that each group may give: ``min(size, level)`` with the lowest level that gives enough in total.

    Args:
        sizes: ``(G,)`` size of each group, in total at least ``count``.
        count: Number to take from all groups.

    Returns:
        ``(G,)`` int64.
    """
    level = 1
    while np.minimum(sizes, level).sum() < count:
        level += 1
    return np.minimum(sizes, level)

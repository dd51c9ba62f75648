"""Farthest-point choice: few points such that no other is far from all of them."""

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

    The first is drawn at random, so the same generator state gives the same choice. Every prefix of the
    result is such a choice itself: a user of only the first few still gets a good cover. Of equally far
    points the one with the lowest index is taken.

    Without groups the largest distance from any point to its nearest chosen one is at most twice the
    smallest possible for that count. With groups (one per source) each gives at most its fair share: the
    choice is spread as evenly as the sizes of the groups allow.

    Args:
        points: ``(N, D)`` float32, compared by Euclidean distance.
        count: How many to choose; at most N are.
        rng: Draws the first point.
        groups: ``(N,)`` group of each point, or ``None`` for one group.

    Returns:
        ``(min(count, N),)`` indices in the order of their choice.

    Reference: T. F. Gonzalez, Clustering to minimize the maximum intercluster distance, Theoretical
    Computer Science 38, 1985. The shares of groups are an addition.
    """
    total = len(points)
    count = min(count, total)
    if count <= 0:
        return np.empty(0, dtype=np.int64)
    member = np.zeros(total, dtype=np.int64) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    room = fair_shares(np.bincount(member), count)
    chosen = np.empty(count, dtype=np.int64)
    nearest = np.full(total, np.inf, dtype=np.float32)
    current = int(rng.integers(total))
    for step in range(count):
        chosen[step] = current
        nearest = np.minimum(nearest, np.linalg.norm(points - points[current], axis=1))
        nearest[current] = -1
        room[member[current]] -= 1
        if room[member[current]] == 0:
            nearest[member == member[current]] = -1
        current = int(np.argmax(nearest))
    return chosen


def fair_shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The most that each group may give: the lowest level at which all together give enough.

    Args:
        sizes: ``(G,)`` size of each group; together at least ``count``.
        count: How many are wanted from all groups together.

    Returns:
        ``(G,)`` ``min(size, level)``.
    """
    level = 1
    while np.minimum(sizes, level).sum() < count:
        level += 1
    return np.minimum(sizes, level)

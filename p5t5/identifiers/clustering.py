"""Vectors into codes: a balanced tree, and residual k-means. NumPy alone, vectorized."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from p5t5.core.randomness import generator

MOST_BITS = 6  # a level of a tree has at most 64 tokens
ROOM = 1.1  # leaves a thing, at least: place for things that come later
POWER_STEPS, MEANS_STEPS = 4, 3  # towards the direction along which a node is cut
SAMPLE = 50_000  # k-means looks at no more rows than this to place its centres
LLOYD_STEPS = 15


def balanced_tree(vectors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, tuple[int, ...]]:
    """int32 [n, levels] and the level sizes: near vectors share leading codes, every leaf holds one row at most.

    Each node is cut in two halves of equal number, at the median of the projection on the line between
    the means of two clusters (balanced 2-means, started at the first principal axis). The cuts' bits,
    up to 6 a level, are the codes. All nodes of a depth are cut at once: n · log2(n) projections.
    """
    vectors = np.asarray(vectors, np.float32)
    number = len(vectors)
    bits = max(int(np.ceil(np.log2(max(ROOM * number, 2)))), 1)
    order = np.arange(number)
    leaf = np.zeros(number, np.int64)  # of order[i]
    for depth in range(bits):
        part = vectors[order]
        starts = np.flatnonzero(np.concatenate([[True], leaf[1:] != leaf[:-1]])) if number else leaf
        sizes = np.diff(np.append(starts, number))
        node = np.repeat(np.arange(len(starts)), sizes)
        along = _projection(part, starts, sizes, node, generator(seed, 31, depth))
        turn = np.lexsort((order, along, node))
        order = order[turn]
        half = (np.arange(number) - starts[node]) >= (sizes[node] + 1) // 2
        leaf = leaf * 2 + half
    codes = np.empty(number, np.int64)
    codes[order] = leaf
    levels = -(-bits // MOST_BITS)
    widths = [bits // levels + (level < bits % levels) for level in range(levels)]
    table, left = np.empty((number, levels), np.int32), bits
    for level, width in enumerate(widths):
        left -= width
        table[:, level] = (codes >> left) & ((1 << width) - 1)
    return table, tuple(1 << width for width in widths)


def _projection(part, starts, sizes, node, random) -> np.ndarray:
    """float32 [n]: each row's place on its node's line; rows of a node lie side by side."""
    ends = np.append(starts, len(part))

    def by_node(
        weight: np.ndarray,
    ) -> sparse.csr_array:  # a sparse product: several times as fast as reduceat
        return sparse.csr_array((weight, np.arange(len(part)), ends), (len(starts), len(part)))

    means = (by_node(np.ones(len(part), np.float32)) @ part) / sizes[:, None].astype(np.float32)
    centred = part - means[node]
    line = np.tile(random.standard_normal(part.shape[1]).astype(np.float32), (len(starts), 1))
    along = np.einsum("nd,nd->n", centred, line[node])
    for step in range(POWER_STEPS + MEANS_STEPS):
        if step >= POWER_STEPS:  # the halves' means: cut at the median, draw the line anew
            place = np.empty(len(part), np.int64)
            place[np.lexsort((along, node))] = np.arange(len(part)) - starts[node]
            weight = np.where(place >= (sizes[node] + 1) // 2, 1.0, -1.0).astype(np.float32)
        else:
            weight = along
        line = by_node(weight) @ centred
        line /= np.maximum(np.linalg.norm(line, axis=1, keepdims=True), 1e-20)
        along = np.einsum("nd,nd->n", centred, line[node])
    return along


def residual_kmeans(vectors: np.ndarray, branching: int, levels: int, seed: int = 0) -> np.ndarray:
    """int32 [n, levels]: at each level the nearest of ``branching`` centres of what the levels before left over."""
    left = np.array(vectors, np.float32)
    codes = np.empty((len(left), levels), np.int32)
    for level in range(levels):
        centres = _centres(left, min(branching, len(left)), generator(seed, 37, level))
        codes[:, level] = nearest(left, centres)
        left -= centres[codes[:, level]]
    return codes


def nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """int64 [n]: the nearest centre of each row, the first of equals; 65,536 rows at a time."""
    squares = (centres**2).sum(1)
    parts = [rows[at : at + 65536] for at in range(0, len(rows), 65536)]
    return np.concatenate(
        [(squares - 2 * (part @ centres.T)).argmin(1) for part in parts] or [np.zeros(0, np.int64)]
    )


def _centres(rows: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
    """float32 [number, d]: k-means++ and Lloyd's steps on a sample; a centre that loses all rows stays."""
    if len(rows) > SAMPLE:
        rows = rows[random.choice(len(rows), SAMPLE, replace=False)]
    chosen = [int(random.integers(len(rows)))]
    distance = ((rows - rows[chosen[0]]) ** 2).sum(1)
    for _ in range(1, number):
        total = np.cumsum(distance, dtype=np.float64)
        at = int(np.searchsorted(total, random.random() * total[-1], side="right")) if total[-1] > 0 else 0
        chosen.append(min(at, len(rows) - 1))
        distance = np.minimum(distance, ((rows - rows[chosen[-1]]) ** 2).sum(1))
    centres = rows[chosen]
    for _ in range(LLOYD_STEPS):
        own = nearest(rows, centres)
        order = np.argsort(own, kind="stable")
        count = np.bincount(own, minlength=number)
        full = np.flatnonzero(count)
        member = sparse.csr_array(
            (np.ones(len(rows), np.float32), order, np.append(0, np.cumsum(count))), (number, len(rows))
        )
        centres[full] = (member @ rows)[full] / count[full, None]
    return centres

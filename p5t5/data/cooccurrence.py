"""Which items follow which in the training rows: one matrix for the baseline, graph clusters and factors."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from p5t5.core.randomness import generator
from p5t5.data.splits import Split

DEGREE, TOLERANCE, MOST_ROUNDS = 8, 0.01, 12  # of the filtered subspace iteration


def cooccurrence(
    split: Split, window: int = 10, forward: float = 1.0, backward: float = 0.5
) -> sparse.csr_array:
    """float64 [items, items]: entry [i, j] is how strongly the training rows speak for j after i.

    Each pair of a user's training rows at most ``window`` steps apart counts ``forward / gap`` for
    the later item after the earlier one and ``backward / gap`` for the earlier after the later.
    """
    train, number = split.rows("train"), split.data.number_of_items
    user, item = split.data.user[train], split.data.item[train]
    first, second, weight = [], [], []
    for gap in range(1, window + 1):
        same = np.flatnonzero(user[gap:] == user[:-gap])
        earlier, later = item[same], item[same + gap]
        first += [earlier, later]
        second += [later, earlier]
        weight += [np.full(len(same), forward / gap), np.full(len(same), backward / gap)]
    pairs = (np.concatenate(first), np.concatenate(second))
    counts = sparse.coo_array((np.concatenate(weight), pairs), shape=(number, number)).tocsr()
    counts.eliminate_zeros()
    return counts


def factors(split: Split, dimensions: int, seed: int = 0) -> np.ndarray:
    """float32 [items, dimensions]: where items that go together lie close; rows of norm 1.

    ``leading_factors`` of the training co-occurrence in both directions. An item that no training row
    has gets a random direction.
    """
    counts = cooccurrence(split)
    return leading_factors(counts + counts.T, dimensions, seed)


def leading_factors(counts: sparse.csr_array, dimensions: int, seed: int = 0) -> np.ndarray:
    """float32 [n, dimensions], rows of norm 1: where things that are met together lie close.

    ``counts`` [n, n] symmetric. The leading singular vectors, times the root of their singular values, of
    D^-½ log(1 + counts) D^-½ with D the row sums. A row of zeros gets a random direction; with more
    dimensions than things the last ones are 0.
    """
    matrix = counts.tocsr(copy=True)
    matrix.data = np.log1p(matrix.data)
    degree = np.asarray(matrix.sum(axis=1)).ravel()
    scale = sparse.dia_array((degree_root(degree)[None], [0]), shape=matrix.shape)
    vectors, values = _leading(scale @ matrix @ scale, min(dimensions, matrix.shape[0]), seed)
    table = np.zeros((matrix.shape[0], dimensions))
    table[:, : len(values)] = vectors * np.sqrt(values)
    return unit_rows(table, seed)


def user_factors(split: Split, item_factors: np.ndarray, seed: int = 0) -> np.ndarray:
    """float32 [users, dimensions]: the mean of the factors of each user's training items, of norm 1."""
    train = split.rows("train")
    user, item = split.data.user[train], split.data.item[train]
    shape = (split.data.number_of_users, len(item_factors))
    visits = sparse.coo_array((np.ones(len(train)), (user, item)), shape=shape).tocsr()
    return unit_rows(visits @ item_factors.astype(np.float64), seed + 1)


def degree_root(degree: np.ndarray) -> np.ndarray:
    """1/√degree, and 0 where the degree is 0."""
    return np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0.0)


def unit_rows(table: np.ndarray, seed: int) -> np.ndarray:
    """float32: each row scaled to norm 1; a row of zeros becomes a random direction."""
    table = np.array(table, np.float64)
    empty = np.linalg.norm(table, axis=1) < 1e-12
    table[empty] = generator(seed, 29).standard_normal((int(empty.sum()), table.shape[1]))
    return (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)


def _leading(matrix: sparse.csr_array, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Singular vectors [n, number] and values of a symmetric matrix, largest first, each sign fixed."""
    size = matrix.shape[0]
    if size <= max(200, 2 * number) or not matrix.nnz:
        values, vectors = np.linalg.eigh(matrix.toarray())
    else:
        values, vectors = _filtered(matrix.astype(np.float32), number, seed)
    order = np.argsort(-np.abs(values), kind="stable")[:number]
    values, vectors = np.abs(values[order]), vectors[:, order]
    largest = np.abs(vectors).argmax(axis=0)
    return vectors * np.sign(vectors[largest, np.arange(number)]), values


def _filtered(matrix: sparse.csr_array, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (largest magnitudes first) and eigenvectors of a large symmetric matrix, to about 1 %.

    Block subspace iteration with a Chebyshev filter (Zhou et al., 2006): the polynomial stays within
    ± 1 below the smallest singular value of the block and explodes above it, which takes a fraction of
    the products that plain power iterations (a randomised SVD's) need where the values fall slowly.
    """
    width = min(number + max(16, number // 4), matrix.shape[0])
    block = matrix @ generator(seed, 23).standard_normal((matrix.shape[0], width)).astype(np.float32)
    before = np.zeros(number)
    for _ in range(MOST_ROUNDS):
        basis = np.linalg.qr(block)[0]
        image = matrix @ basis
        # Singular values: with eigenvalues of both signs a Ritz value may be 0 where no eigenvalue is.
        squares, turn = np.linalg.eigh(image.T @ image)
        found = np.sqrt(np.maximum(squares[::-1], 0))
        cut = found[-1]
        if (np.abs(found[:number] - before) <= TOLERANCE * found[:number]).all() or cut < 1e-6 * found[0]:
            break
        before = found[:number]
        old, new = basis @ turn, (image @ turn) / cut
        for _ in range(DEGREE - 1):
            old, new = new, (matrix @ new) * (2 / cut) - old
            # Where singular values fall steeply it explodes beyond float32; by powers of two nothing is rounded.
            scale = np.ldexp(np.float32(1), np.maximum(np.frexp(np.abs(new).max(axis=0))[1] - 20, 0))
            old, new = old / scale, new / scale
        block = new / np.linalg.norm(new, axis=0)
    values, turn = np.linalg.eigh(basis.T @ image)
    order = np.argsort(-np.abs(values), kind="stable")[:number]
    return values[order], basis @ turn[:, order]

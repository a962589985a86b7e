"""What is known of new things beside the old ones, as sparse features, and what follows for their embeddings.

An item is known by its words, a user by the visited items. New things get embeddings from those known
ones whose features are most like theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from p5t5.identifiers.texts import AGGREGATES, item_words

NEAREST, POWER = 20, 4  # of the known things that speak for a new one (docs/cold-start.md)
TABLE = 1 << 23  # likenesses that are held at a time: 32 MB


def described(catalogue_items: pd.DataFrame) -> pd.DataFrame:
    """A catalogue's items (item_id, title, attributes) as a table to read words from: without prices and aggregates."""
    texts = catalogue_items.get("attributes")
    attributes = [""] * len(catalogue_items) if texts is None else texts.tolist()
    kept = [
        ", ".join(
            part for part in text.split(" ; ") if not (part.startswith("price ") or AGGREGATES.search(part))
        )
        for text in attributes
    ]
    return pd.DataFrame(
        {
            "item_id": catalogue_items["item_id"].tolist(),
            "title": catalogue_items["title"].tolist(),
            "attributes": kept,
        }
    )


def word_features(items: pd.DataFrame) -> sparse.csr_array:
    """float32 [items, words]: TF-IDF of the words that at least two items have, rows of norm 1 (or 0)."""
    return weighted(counted(item_words(items)))


def counted(rows: Sequence[Sequence[str]]) -> sparse.csr_array:
    """float32 [rows, distinct words]: how often each word stands in each row."""
    place: dict[str, int] = {}
    columns = [place.setdefault(word, len(place)) for row in rows for word in row]
    ends = np.cumsum([0, *map(len, rows)])
    ones = np.ones(len(columns), np.float32)
    table = sparse.csr_array((ones, columns, ends), (len(rows), max(len(place), 1)))
    table.sum_duplicates()
    return table


def weighted(counts: sparse.csr_array) -> sparse.csr_array:
    """Counts as TF-IDF, (1 + log n) · (1 + log((1 + rows) / (1 + rows with it))); columns of a single row go."""
    found = np.bincount(counts.indices, minlength=counts.shape[1])
    kept = counts[:, np.flatnonzero(found > 1)].tocsr()
    rarity = 1 + np.log((1 + counts.shape[0]) / (1 + found[found > 1]))
    kept.data = ((1 + np.log(kept.data)) * rarity[kept.indices]).astype(np.float32)
    return unit(kept)


def unit(table: sparse.csr_array) -> sparse.csr_array:
    """Rows of norm 1; a row of zeros stays."""
    norm = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
    scale = (1 / np.where(norm > 0, norm, 1)).astype(np.float32)
    return sparse.csr_array(
        (table.data * np.repeat(scale, np.diff(table.indptr)), table.indices, table.indptr), table.shape
    )


def carried_over(known: sparse.csr_array, values: np.ndarray, new: sparse.csr_array) -> np.ndarray:
    """float32 [new, d]: what the features ``new`` [m, f] say, when ``known`` [n, f] stand for ``values`` [n, d].

    The mean of the values plus the deviations of the most alike, weighted by a power of their likeness
    (the cosine) and brought to the known deviations' mean length: a mean of several is too short to compete
    with them. What is like nothing known gets the mean.
    """
    mean = values.mean(0)
    rest = np.asarray(values - mean, np.float32)
    usual = np.linalg.norm(rest, axis=1).mean()
    turned, number = known.T.tocsr(), min(NEAREST, len(values))
    out = np.empty((new.shape[0], values.shape[1]), np.float32)
    step = max(TABLE // len(values), 1)
    for start in range(0, len(out), step):
        like = (new[start : start + step] @ turned).toarray()
        near = np.argpartition(-like, number - 1, axis=1)[:, :number]
        weight = np.take_along_axis(like, near, 1) ** POWER
        deviation = np.einsum("mk,mkd->md", weight, rest[near])
        length = np.linalg.norm(deviation, axis=1, keepdims=True)
        out[start : start + step] = mean + deviation * (usual / np.where(length > 0, length, 1))
    return out

"""What the catalogue says of items in words, as vectors: for semantic identifiers and for items that come later."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.linalg import svds

from p5t5.cooccurrence import unit_rows
from p5t5.errors import UserError

DIMENSIONS = 64
MOST_WORDS = 50_000
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Site-wide aggregates over purchases, test purchases included (benchmarks.md): not text about an item.
AGGREGATES = re.compile(
    r"also_?(bought|viewed)|bought_?together|buy_?after_?viewing|sales_?rank", re.IGNORECASE
)


def text_columns(items: pd.DataFrame) -> list[str]:
    """The item columns that say something of an item: all but the id, numbers like the price and aggregates."""
    return [
        name
        for name in items.columns
        if name not in ("item_id", "price") and not AGGREGATES.search(name.replace(" ", "_"))
    ]


def item_words(items: pd.DataFrame) -> list[list[str]]:
    """An item's words: those of all its columns, and each attribute value (between commas) as one word."""
    rows: list[list[str]] = [[] for _ in range(len(items))]
    for name in text_columns(items):
        for row, text in zip(rows, items[name].tolist(), strict=True):
            lowered = str(text).lower()
            row += WORD.findall(lowered)
            if name != "title":
                row += [f"{name}={value.strip()}" for value in lowered.split(",") if value.strip()]
    return rows


def text_vectors(items: pd.DataFrame, seed: int = 0, encoder: str = "") -> np.ndarray:
    """float32 [items, dimensions], rows of norm 1: where items that are described alike lie close.

    TF-IDF and a truncated SVD; with ``encoder`` (a folder or Hub id) a sentence-transformers model
    instead. An item without text gets a random direction. UserError where no item has any text, or
    where that package is missing.
    """
    if not text_columns(items):
        raise UserError(
            "the items have neither titles nor attributes to name them by; choose other identifiers."
        )
    if encoder:
        return unit_rows(_encoded(items, encoder), seed)
    words = item_words(items)
    if not any(words):
        raise UserError("no item has a title or an attribute to name it by; choose other identifiers.")
    known = _tf_idf(words, least=2 if len(items) > 1000 else 1)
    left, values, _ = svds(known, min(DIMENSIONS, min(known.shape) - 1), random_state=seed)
    left = left[:-1, ::-1] * values[::-1]
    largest = np.abs(left).argmax(0)
    return unit_rows(left * np.sign(left[largest, np.arange(left.shape[1])]), seed)


def _tf_idf(rows: Sequence[Sequence[str]], least: int) -> sparse.csr_array:
    """float64 [rows + 1, words + 1]: (1 + log count) · smooth idf, rows of norm 1 (Manning et al. 2008, 6.2 to 6.4).

    Words in fewer than ``least`` rows are left out, and beyond MOST_WORDS the rarest. The last row and
    column are empty: a truncated decomposition needs one more than it gives.
    """
    lengths = [len(row) for row in rows]
    spelled, number = np.unique([word for row in rows for word in row], return_inverse=True)
    shape = (len(rows) + 1, len(spelled) + 1)
    ones = np.ones(len(number))
    counts = sparse.csr_array((ones, (np.repeat(np.arange(len(rows)), lengths), number)), shape=shape)
    counts.sum_duplicates()
    found = np.bincount(counts.indices, minlength=shape[1])
    kept = np.argsort(-found, kind="stable")[:MOST_WORDS]
    weight = np.zeros(shape[1])
    weight[kept] = np.where(found[kept] >= least, np.log((1 + len(rows)) / (1 + found[kept])) + 1, 0)
    counts.data = (1 + np.log(counts.data)) * weight[counts.indices]
    norm = np.sqrt(counts.multiply(counts).sum(1))
    return sparse.dia_array((1 / np.maximum(norm, 1e-12)[None], [0]), shape=(shape[0], shape[0])) @ counts


def _encoded(items: pd.DataFrame, encoder: str) -> np.ndarray:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            "a text encoder for identifiers needs the package sentence-transformers: install it, or leave the encoder out"
        ) from error
    names = text_columns(items)
    rows = zip(*(items[name].tolist() for name in names), strict=True)
    texts = [" ; ".join(str(value) for value in row if value) for row in rows]
    vectors = np.array(SentenceTransformer(encoder).encode(texts, show_progress_bar=False), np.float64)
    vectors[[not text for text in texts]] = 0
    return vectors

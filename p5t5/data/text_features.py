"""What the catalogue says of items in words: as features (TF-IDF) and as vectors.

For semantic identifiers and starting vectors, for items that come later, and for what recommends what is
described alike (`p5t5.baselines.text_similarity`).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, lsqr, svds

from p5t5.core.errors import UserError
from p5t5.data.cooccurrence import unit_rows

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


def catalogue_texts(catalogue_items: pd.DataFrame) -> pd.DataFrame:
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
    """float32 [rows, distinct words]: how often each word stands in each row; columns in the words' order."""
    place = {word: at for at, word in enumerate(sorted({word for row in rows for word in row}))}
    columns = np.array([place[word] for row in rows for word in row], np.int32)
    ends = np.cumsum([0, *map(len, rows)])
    ones = np.ones(len(columns), np.float32)
    table = sparse.csr_array((ones, columns, ends), (len(rows), max(len(place), 1)))
    table.sum_duplicates()
    return table


def weighted(counts: sparse.csr_array, least: int = 2, most: int | None = None) -> sparse.csr_array:
    """Counts as TF-IDF, (1 + log n) · (1 + log((1 + rows) / (1 + rows with it))), rows of norm 1 (or 0).

    (Manning et al. 2008, 6.2 to 6.4.) Columns of fewer than ``least`` rows go, and the rarest beyond ``most``.
    """
    kept, rarity = common_columns(counts, least, most)
    return weighed(counts[:, kept].tocsr(), rarity)


def common_columns(
    counts: sparse.csr_array, least: int = 2, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(the columns that `weighted` keeps, ascending; 1 + log((1 + rows) / (1 + rows with it)) of each)."""
    found = np.bincount(counts.indices, minlength=counts.shape[1])
    common = np.argsort(-found, kind="stable")[:most]
    kept = np.sort(common[found[common] >= least])
    return kept, 1 + np.log((1 + counts.shape[0]) / (1 + found[kept]))


def weighed(table: sparse.csr_array, rarity: np.ndarray) -> sparse.csr_array:
    """Counts as (1 + log n) · ``rarity`` [columns], rows of norm 1 (or 0). The table itself is changed."""
    table.data = ((1 + np.log(table.data)) * rarity[table.indices]).astype(table.dtype)
    return unit(table)


def unit(table: sparse.csr_array) -> sparse.csr_array:
    """Rows of norm 1; a row of zeros stays."""
    norm = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
    scale = (1 / np.where(norm > 0, norm, 1)).astype(table.dtype)
    return sparse.csr_array(
        (table.data * np.repeat(scale, np.diff(table.indptr)), table.indices, table.indptr), table.shape
    )


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
    counts = counted(words).astype(np.float64)
    known = weighted(counts, least=2, most=MOST_WORDS)
    if len(items) <= 1000 or not known.nnz:
        known = weighted(counts, least=1, most=MOST_WORDS)
    known.resize(known.shape[0] + 1, known.shape[1] + 1)  # it needs one more row and column than it gives
    left, values, _ = svds(known, min(DIMENSIONS, min(known.shape) - 1), random_state=seed)
    left = left[:-1, ::-1] * values[::-1]
    largest = np.abs(left).argmax(0)
    return unit_rows(left * np.sign(left[largest, np.arange(left.shape[1])]), seed)


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


@dataclass(frozen=True)
class WordCounts:
    """float64 ``table`` [texts, words and pairs]; its columns are the ``words``, then the ``pairs`` of neighbours,
    int64, each first · len(words) + second.
    """

    table: sparse.csr_array
    words: Sequence[str]
    pairs: np.ndarray

    @staticmethod
    def of(texts: Sequence[str]) -> WordCounts:
        """How often each word, and each pair of neighbours, stands in each text."""
        number: dict[str, int] = {}
        flat, ends = array("q"), [0]
        for text in texts:
            flat.extend(number.setdefault(word, len(number)) for word in WORD.findall(text.lower()))
            ends.append(len(flat))
        word = np.array(flat, np.int64)
        row = np.repeat(np.arange(len(texts)), np.diff(ends))
        paired = row[1:] == row[:-1]
        pairs, pair = np.unique((word[:-1] * len(number) + word[1:])[paired], return_inverse=True)
        place = (np.r_[row, row[1:][paired]], np.r_[word, len(number) + pair])
        shape = (len(texts), max(len(number) + len(pairs), 1))
        counts = sparse.csr_array(sparse.coo_array((np.ones(len(place[0])), place), shape=shape))
        counts.sum_duplicates()
        return WordCounts(counts, list(number), pairs)

    def names(self, columns: np.ndarray | None = None) -> list[str]:
        """The words and pairs, a space between the two, of these columns, or of all."""
        words, count = self.words, len(self.words)
        columns = np.arange(count + len(self.pairs)) if columns is None else columns
        codes = np.r_[np.arange(count), self.pairs][columns].tolist()
        return [
            words[code] if column < count else f"{words[code // count]} {words[code % count]}"
            for column, code in zip(columns.tolist(), codes, strict=True)
        ]


def word_counts(texts: Sequence[str]) -> sparse.csr_array:
    """float64 [texts, words and pairs]: how often each word, and each pair of neighbours, stands in a text."""
    return WordCounts.of(texts).table


def ridge(table: sparse.csr_array, target: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """(weights [columns], constant) that minimise squared error + penalty · |weights|², to about three digits.

    LSQR (Paige & Saunders 1982) on centred columns, which are never made: the constant is not penalised.
    """
    mean, across, middle = np.asarray(table.mean(axis=0)).ravel(), table.T.tocsr(), float(target.mean())
    centred = LinearOperator(
        table.shape,
        matvec=lambda weights: table @ weights - mean @ weights,
        rmatvec=lambda left: across @ left - mean * left.sum(),
        dtype=np.float64,
    )
    weights = lsqr(centred, target - middle, damp=penalty**0.5, atol=1e-3, btol=1e-3, iter_lim=100)[0]
    return weights, middle - float(mean @ weights)

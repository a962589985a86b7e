"""Embedding initialization of a model from scratch, from training rows only.

Co-occurring users and items start close together, and so do items with similar descriptions and words that
occur together; the last dimension, the same for all, says how each relates to the rating.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import lsqr

from p5t5.baselines.rating import BiasOnly
from p5t5.core.randomness import generator
from p5t5.data.cooccurrence import factors, leading_factors, unit_rows, user_factors
from p5t5.data.splits import Split
from p5t5.data.text_features import item_words, text_vectors
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.columns import shorten
from p5t5.text.pretraining_corpus import training_texts
from p5t5.text.tokenizer import WORD_START, sentinel_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BIAS_SHARE = 0.5  # length of a bias of one standard deviation in a vector of norm 1
BIAS_PENALTY = 5.0
TEXT_DIMENSIONS, TEXT_SHARE = (
    0.25,
    0.3,
)  # text part of an item: share of the dimensions, of the squared length
IDENTITY_DIMENSIONS, IDENTITY_SHARE = (
    0.25,
    0.3,
)  # the same of the identity part, where people seldom repeat items
MAX_REPEAT_SHARE = 0.05  # share of the training rows whose item its user had before
WINDOW = 5  # tokens to either side that count as co-occurring
MAX_TOKENS = 5_000_000  # of counted text: more changes little
MIN_OCCURRENCES = 5  # minimum occurrences of a piece of text
WORD_PENALTY = 5.0  # ridge penalty on a piece's contribution to a rating


def item_and_user_vectors(split: Split, dimensions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32 [items, dimensions] and [users, dimensions], rows of norm 1.

    An item: its co-occurrence factors and, in the last quarter, the vector of its text, where items have
    any. A user: the mean of the training items. Where there are ratings, the last dimension is the item's or the
    user's bias, so that a rating can be read off from the first step on.
    """
    text_width = int(dimensions * TEXT_DIMENSIONS) if any(map(any, item_words(split.data.items))) else 0
    items = factors(split, dimensions - text_width, seed)
    if text_width:
        texts = text_vectors(split.data.items, seed)[:, :text_width]
        texts = np.pad(unit_rows(texts, seed), ((0, 0), (0, text_width - texts.shape[1])))
        items = np.concatenate([(1 - TEXT_SHARE) ** 0.5 * items, TEXT_SHARE**0.5 * texts], 1)
    users = user_factors(split, items, seed)
    if split.data.rating is not None and len(split.data.rating_values) > 1:
        # A single penalty, so that nothing is chosen on the validation ratings.
        biases = BiasOnly(split, penalties=(BIAS_PENALTY,))
        items, users = _with_bias(items, biases.item), _with_bias(users, biases.user)
    return items, users


def identity_dimensions(split: Split, dimensions: int) -> int:
    """How many dimensions distinguish an item from all others: 0 where people do repeat items.

    Co-occurring items start close together, so a model that reads a history in them cannot rank the items
    of the history low and their neighbours high. With identity dimensions it can (`with_identity_part`).
    """
    rows = split.rows("train")
    pairs = split.data.user[rows].astype(np.int64) * split.data.number_of_items + split.data.item[rows]
    repeat_share = 1 - len(np.unique(pairs)) / max(len(pairs), 1)
    return int(dimensions * IDENTITY_DIMENSIONS) if repeat_share < MAX_REPEAT_SHARE else 0


def with_identity_part(vectors: np.ndarray, dimensions: int, seed: int = 0) -> np.ndarray:
    """float32 [items, d + dimensions], rows of norm 1: IDENTITY_SHARE of the squared length in a random direction."""
    if not dimensions:
        return vectors
    identity = unit_rows(generator(seed, 31).standard_normal((len(vectors), dimensions)), seed)
    return np.concatenate([(1 - IDENTITY_SHARE) ** 0.5 * vectors, IDENTITY_SHARE**0.5 * identity], 1)


def word_vectors(
    split: Split,
    tokenizer: PreTrainedTokenizerFast,
    dimensions: int,
    options: BuildOptions,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n]: the pieces of text that are frequent in training rows; and their vectors, float32
    [n, dimensions], rows of norm 1.

    The leading factors of co-occurrence within WINDOW tokens (a factorized co-occurrence matrix as in Levy &
    Goldberg 2014). The last dimension: for a rating's own word its value; for others, where reviews
    have ratings, their contribution to one.
    """
    pieces = int(sentinel_ids(tokenizer).min())  # in our own vocabularies text comes first
    ids = _token_ids(tokenizer, training_texts(split, options))
    document = np.repeat(np.arange(len(ids)), [len(row) for row in ids])
    tokens = np.concatenate([*ids, np.zeros(0, np.int64)])
    is_text = tokens < pieces
    counts = sparse.csr_array((pieces, pieces))
    for gap in range(1, WINDOW + 1):
        both_text = (document[gap:] == document[:-gap]) & is_text[gap:] & is_text[:-gap]
        pairs = tokens[:-gap][both_text], tokens[gap:][both_text]
        counts += sparse.coo_array((np.full(both_text.sum(), 1 / gap), pairs), shape=counts.shape).tocsr()
    frequent = np.flatnonzero(np.bincount(tokens[is_text], minlength=pieces) >= MIN_OCCURRENCES)
    vectors = leading_factors(counts + counts.T, dimensions, seed)
    weights = _rating_weights(split, tokenizer, pieces, options)
    if weights is not None:
        vectors = _with_bias(vectors, weights)
    words = [WORD_START + f"{value:g}" for value in split.data.rating_values]
    scale = np.array(tokenizer.convert_tokens_to_ids(words), np.int64)
    if len(words) > 1:
        vectors[scale] = _with_bias(
            vectors[scale], split.data.rating_values - split.data.rating_values.mean()
        )
    frequent = np.union1d(frequent, scale)
    return frequent, vectors[frequent]


def _with_bias(vectors: np.ndarray, bias: np.ndarray) -> np.ndarray:
    vectors = vectors.copy()
    vectors[:, -1] = BIAS_SHARE * np.clip(bias / max(float(bias.std()), 1e-9), -3, 3)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _rating_weights(
    split: Split, tokenizer: PreTrainedTokenizerFast, pieces: int, options: BuildOptions
) -> np.ndarray | None:
    """float64 [pieces]: a piece's contribution to the rating of the review that holds it, by ridge regression."""
    data, rows = split.data, split.rows("train")
    columns = [data.texts[name] for name in ("summary", "review") if data.has(name)]
    if data.rating is None or not columns:
        return None
    rows = rows[np.isfinite(data.rating[rows])]
    texts = (" ".join(shorten(c[row], options.max_words) for c in columns) for row in rows.tolist())
    ids = _token_ids(tokenizer, texts)
    target = data.rating[rows[: len(ids)]].astype(np.float64)
    text_index = np.repeat(np.arange(len(ids)), [len(row) for row in ids])
    tokens = np.concatenate([*ids, np.zeros(0, np.int64)])
    is_text = tokens < pieces
    counts = sparse.coo_array(
        (np.ones(is_text.sum()), (text_index[is_text], tokens[is_text])), shape=(len(ids), pieces)
    )
    counts = counts.tocsr()
    counts.data[:] = 1
    scale = 1 / np.sqrt(np.maximum(counts.sum(1), 1))
    counts = sparse.dia_array((scale[None], [0]), shape=(len(ids), len(ids))) @ counts
    return lsqr(counts, target - target.mean(), damp=WORD_PENALTY**0.5, iter_lim=50)[0]


def _token_ids(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> list[np.ndarray]:
    """Token ids of each text, until MAX_TOKENS are reached."""
    out: list[np.ndarray] = []
    texts, total = iter(texts), 0
    while total < MAX_TOKENS and (chunk := list(islice(texts, 4096))):
        encoded = tokenizer.backend_tokenizer.encode_batch(chunk, add_special_tokens=False)
        out += [np.array(each.ids, np.int64) for each in encoded]
        total += sum(len(each.ids) for each in encoded)
    return out

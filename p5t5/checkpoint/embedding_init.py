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
TEXT_DIMENSIONS, TEXT_SHARE = 0.25, 0.3  # of an item's dimensions, of its squared length: from its text
OWN_DIMENSIONS, OWN_SHARE = 0.25, 0.3  # the same, where people seldom come back: its own and nobody else's
SELDOM = 0.05  # share of the training rows whose item its user had before
WINDOW = 5  # tokens to either side that count as met
MOST_TOKENS = 5_000_000  # of text that is counted: more changes little
LEAST = 5  # occurrences below which a piece of text says nothing
WORD_PENALTY = 5.0  # ridge penalty on what a piece adds to a rating


def item_and_user_vectors(split: Split, dimensions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32 [items, dimensions] and [users, dimensions], rows of norm 1.

    An item: its co-occurrence factors and, in the last quarter, the vector of its text, where items have
    any. A user: the mean of the training items. Where there are ratings, the last dimension is the bias of
    the item's or the user's, so that a rating can be read off from the first step on.
    """
    room = int(dimensions * TEXT_DIMENSIONS) if any(map(any, item_words(split.data.items))) else 0
    items = factors(split, dimensions - room, seed)
    if room:
        texts = text_vectors(split.data.items, seed)[:, :room]
        texts = np.pad(unit_rows(texts, seed), ((0, 0), (0, room - texts.shape[1])))
        items = np.concatenate([(1 - TEXT_SHARE) ** 0.5 * items, TEXT_SHARE**0.5 * texts], 1)
    users = user_factors(split, items, seed)
    if split.data.rating is not None and len(split.data.rating_values) > 1:
        # One penalty, so that nothing is chosen by the validation ratings.
        biases = BiasOnly(split, penalties=(BIAS_PENALTY,))
        items, users = _with_bias(items, biases.item), _with_bias(users, biases.user)
    return items, users


def identity_dimensions(split: Split, dimensions: int) -> int:
    """How many of the dimensions tell one item from all others: 0 where people do come back to items.

    Items that are met together lie close, so that a model which reads a history in them can't rank the items
    of the history low and their neighbours high. With a part of their own it can (`with_identity_part`).
    """
    rows = split.rows("train")
    pairs = split.data.user[rows].astype(np.int64) * split.data.number_of_items + split.data.item[rows]
    again = 1 - len(np.unique(pairs)) / max(len(pairs), 1)
    return int(dimensions * OWN_DIMENSIONS) if again < SELDOM else 0


def with_identity_part(vectors: np.ndarray, dimensions: int, seed: int = 0) -> np.ndarray:
    """float32 [items, d + dimensions], rows of norm 1: OWN_SHARE of the squared length in a random direction."""
    if not dimensions:
        return vectors
    own = unit_rows(generator(seed, 31).standard_normal((len(vectors), dimensions)), seed)
    return np.concatenate([(1 - OWN_SHARE) ** 0.5 * vectors, OWN_SHARE**0.5 * own], 1)


def word_vectors(
    split: Split,
    tokenizer: PreTrainedTokenizerFast,
    dimensions: int,
    options: BuildOptions,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n]: the pieces of text that training rows hold often enough; and their vectors, float32
    [n, dimensions], rows of norm 1.

    The leading factors of what is found within WINDOW tokens (a factorised co-occurrence as in Levy &
    Goldberg 2014). The last dimension: of a rating's own word how high it is, of others, where reviews
    have ratings, what they add to one.
    """
    pieces = int(sentinel_ids(tokenizer).min())  # text comes first in a vocabulary of our own
    ids = _token_ids(tokenizer, training_texts(split, options))
    document = np.repeat(np.arange(len(ids)), [len(row) for row in ids])
    tokens = np.concatenate([*ids, np.zeros(0, np.int64)])
    text = tokens < pieces
    counts = sparse.csr_array((pieces, pieces))
    for gap in range(1, WINDOW + 1):
        same = (document[gap:] == document[:-gap]) & text[gap:] & text[:-gap]
        pairs = tokens[:-gap][same], tokens[gap:][same]
        counts += sparse.coo_array((np.full(same.sum(), 1 / gap), pairs), shape=counts.shape).tocsr()
    often = np.flatnonzero(np.bincount(tokens[text], minlength=pieces) >= LEAST)
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
    often = np.union1d(often, scale)
    return often, vectors[often]


def _with_bias(vectors: np.ndarray, bias: np.ndarray) -> np.ndarray:
    vectors = vectors.copy()
    vectors[:, -1] = BIAS_SHARE * np.clip(bias / max(float(bias.std()), 1e-9), -3, 3)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _rating_weights(
    split: Split, tokenizer: PreTrainedTokenizerFast, pieces: int, options: BuildOptions
) -> np.ndarray | None:
    """float64 [pieces]: what a piece adds to the rating of the review that holds it, by ridge regression."""
    data, rows = split.data, split.rows("train")
    columns = [data.texts[name] for name in ("summary", "review") if data.has(name)]
    if data.rating is None or not columns:
        return None
    rows = rows[np.isfinite(data.rating[rows])]
    texts = (" ".join(shorten(c[row], options.max_words) for c in columns) for row in rows.tolist())
    ids = _token_ids(tokenizer, texts)
    target = data.rating[rows[: len(ids)]].astype(np.float64)
    place = np.repeat(np.arange(len(ids)), [len(row) for row in ids])
    tokens = np.concatenate([*ids, np.zeros(0, np.int64)])
    text = tokens < pieces
    held = sparse.coo_array((np.ones(text.sum()), (place[text], tokens[text])), shape=(len(ids), pieces))
    held = held.tocsr()
    held.data[:] = 1
    scale = 1 / np.sqrt(np.maximum(held.sum(1), 1))
    held = sparse.dia_array((scale[None], [0]), shape=(len(ids), len(ids))) @ held
    return lsqr(held, target - target.mean(), damp=WORD_PENALTY**0.5, iter_lim=50)[0]


def _token_ids(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> list[np.ndarray]:
    """Token ids of each text, from the first on until MOST_TOKENS are reached."""
    out: list[np.ndarray] = []
    texts, total = iter(texts), 0
    while total < MOST_TOKENS and (part := list(islice(texts, 4096))):
        encoded = tokenizer.backend_tokenizer.encode_batch(part, add_special_tokens=False)
        out += [np.array(each.ids, np.int64) for each in encoded]
        total += sum(len(each.ids) for each in encoded)
    return out

"""Text baselines: sentences of training rows, selected by increasingly informed rules.

- **most_common_text**: the same for everybody.
- **random_of_item**: a random training sentence of the item; of any item where it has none.
- **nearest_text**: among the item's and the user's training sentences, the one by the most similar user or
  of the most similar item. Users and items are compared by the words of their training reviews.
- **gold_feature**: the hint itself and nothing else; **nearest_with_feature**: among all training sentences
  that contain the hint, the nearest by user and item. Both only where a hint is given.
- **first_sentence**: of the review, cut to the median length of training headlines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import sparse

from p5t5.core.randomness import hashed
from p5t5.data.splits import Split
from p5t5.metrics.text import FeatureFinder, words
from p5t5.tasks.registry import TASKS

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
MAX_COSINES = 10_000_000  # similarities held at once: 80 MB


def text_baselines(
    split: Split, task: str, rows: np.ndarray, seed: int = 0
) -> Iterator[tuple[str, list[str]]]:
    """(name, one answer per row of ``rows``); only the most common text where no training row has any."""
    column = TASKS[task].text_column
    common = most_common_text(split, column)
    yield "most_common_text", [common] * len(rows)
    if not common:
        return
    data = split.data
    if TASKS[task].reads_review:
        longest = _median_words(data.texts[column], split.rows("train"))
        reviews = [data.texts["review"][row] for row in rows.tolist()]
        yield "first_sentence", [first_sentence(review, longest) for review in reviews]
        return
    training_texts = TrainingTexts(split, column)
    yield "random_of_item", training_texts.random_of_item(rows, seed)
    nearest = training_texts.nearest(rows)
    yield "nearest_text", nearest
    if hint := TASKS[task].hint:
        features = [data.texts[hint][row] for row in rows.tolist()]
        yield "gold_feature", features
        with_feature = training_texts.nearest_with(rows, features)
        yield (
            "nearest_with_feature",
            [text or other for text, other in zip(with_feature, nearest, strict=True)],
        )


def most_common_text(split: Split, column: str) -> str:
    """The most frequent text of the training rows (the first of several): about the best constant sentence."""
    texts = split.data.texts[column]
    counts = Counter(texts[row] for row in split.rows("train").tolist() if texts[row])
    return counts.most_common(1)[0][0] if counts else ""


def first_sentence(text: str, longest: int) -> str:
    """The first ``longest`` words of the first sentence."""
    return " ".join(SENTENCE_END.split(text.strip(), maxsplit=1)[0].split()[:longest])


class TrainingTexts:
    """The texts of a column in the training rows, to select answers from.

    ``users`` and ``items``: sparse float64 [users | items, words], the TF-IDF of all training texts of each
    (reviews, where there are any), rows of norm 1.
    """

    def __init__(self, split: Split, column: str) -> None:
        data, train = split.data, split.rows("train")
        texts = data.texts[column]
        self.rows = np.array([row for row in train.tolist() if texts[row].strip()], np.int64)
        self.texts = [texts[row] for row in self.rows.tolist()]
        self.data, self.user, self.item = data, data.user[self.rows], data.item[self.rows]
        self.common = most_common_text(split, column)
        reviews = data.texts.get("review") or texts
        counts = _word_counts([reviews[row] for row in train.tolist()])
        self.users = _tfidf(data.user[train], data.number_of_users, counts)
        self.items = _tfidf(data.item[train], data.number_of_items, counts)
        self.by_user, self.by_item = _members(self.user), _members(self.item)

    def random_of_item(self, rows: np.ndarray, seed: int = 0) -> list[str]:
        """A training text of each row's item, drawn by the seed; of any item where it has none."""
        everything = np.arange(len(self.texts))
        candidates = [self.by_item.get(item, everything) for item in self.data.item[rows].tolist()]
        draws = hashed(seed, rows).tolist()
        return [
            self.texts[indices[draw % len(indices)]] for indices, draw in zip(candidates, draws, strict=True)
        ]

    def nearest(self, rows: np.ndarray) -> list[str]:
        """The nearest training text of the row's item or user; the most common text where neither has any."""
        of_item, item_score = self._nearest(rows, self.data.item[rows], self.by_item)
        of_user, user_score = self._nearest(rows, self.data.user[rows], self.by_user)
        indices = np.where(item_score >= user_score, of_item, of_user)
        return [self.texts[index] if index >= 0 else self.common for index in indices.tolist()]

    def nearest_with(self, rows: np.ndarray, features: Sequence[str]) -> list[str]:
        """The nearest training text that holds the row's feature; "" where none does."""
        finder = FeatureFinder(features)
        holders: dict[int, list[int]] = {}
        for index, text in enumerate(self.texts):
            for feature in finder(text):
                holders.setdefault(feature, []).append(index)
        members = {feature: np.array(indices, np.int64) for feature, indices in holders.items()}
        keys = np.array([finder.number.get(" ".join(words(feature)), -1) for feature in features])
        indices, _ = self._nearest(rows, keys, members)
        return [self.texts[index] if index >= 0 else "" for index in indices.tolist()]

    def _nearest(
        self, rows: np.ndarray, keys: np.ndarray, members: Mapping[int, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Index and similarity of the best of ``members[key]`` for each row; −1 and −1.0 where there is none.

        The similarity is the sum of the users' and the items' cosines; of equal ones the earlier training row is taken.
        """
        best, score = np.full(len(rows), -1, np.int64), np.full(len(rows), -1.0)
        user, item = self.data.user[rows], self.data.item[rows]
        for key, group in _members(keys).items():
            candidates = members.get(key)
            if candidates is None:
                continue
            for chunk in np.array_split(group, -(-len(group) * len(candidates) // MAX_COSINES)):
                table = _cosines(self.users, user[chunk], self.user[candidates])
                table += _cosines(self.items, item[chunk], self.item[candidates])
                best[chunk], score[chunk] = candidates[table.argmax(1)], table.max(1)
        return best, score


def _cosines(vectors: sparse.csr_array, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 [a, b]; 1 where both are the same, even without any words."""
    return np.where(a[:, None] == b, 1.0, (vectors[a] @ vectors[b].T).toarray())


def _members(keys: np.ndarray) -> dict[int, np.ndarray]:
    """Key → the indices that have it, ascending."""
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts[1:]), strict=True)) if len(distinct) else {}


def _word_counts(texts: Sequence[str]) -> sparse.csr_array:
    """float64 [texts, words]: how often each word is in each text."""
    column_of: dict[str, int] = {}
    columns = [[column_of.setdefault(word, len(column_of)) for word in words(text)] for text in texts]
    lengths = [len(row) for row in columns]
    flat = np.array([column for row in columns for column in row], np.int64)
    entries = (np.ones(len(flat)), (np.repeat(np.arange(len(texts)), lengths), flat))
    return sparse.csr_array(sparse.coo_array(entries, shape=(len(texts), max(len(column_of), 1))))


def _tfidf(owner: np.ndarray, owners: int, counts: sparse.csr_array) -> sparse.csr_array:
    """float64 [owners, words]: log(1 + count) × log(owners / owners with the word), each row of norm 1 or 0."""
    ones = (np.ones(len(owner)), (owner, np.arange(len(owner))))
    matrix = sparse.csr_array(sparse.coo_array(ones, shape=(owners, len(owner))) @ counts)
    matrix.sum_duplicates()
    owners_with_word = np.bincount(matrix.indices, minlength=matrix.shape[1])
    matrix.data = np.log1p(matrix.data) * np.log(owners / np.maximum(owners_with_word, 1))[matrix.indices]
    row = np.repeat(np.arange(owners), np.diff(matrix.indptr))
    norm = np.sqrt(np.bincount(row, matrix.data**2, owners))
    matrix.data /= np.maximum(norm, 1e-12)[row]
    return matrix


def _median_words(texts: Sequence[str], rows: np.ndarray) -> int:
    """The median number of words of the rows that have a text."""
    lengths = [len(texts[row].split()) for row in rows.tolist() if texts[row].strip()]
    return max(round(float(np.median(lengths))), 1)

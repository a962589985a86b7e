"""Text baselines: sentences of training rows, found by ever better rules.

- **most_common_text**: the same for everybody.
- **random_of_item**: any training sentence of the item; of anything where the item has none.
- **nearest_text**: of the item's and the user's training sentences the one by the most similar user, or
  of the most similar item. Users and items are compared by the words of their training reviews.
- **gold_feature**: the hint itself and nothing else; **nearest_with_feature**: of all training sentences
  that contain the hint the nearest by user and item. Both only where a hint is given.
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
LARGEST = 10_000_000  # cosines at once: 80 MB


def text_baselines(
    split: Split, task: str, rows: np.ndarray, seed: int = 0
) -> Iterator[tuple[str, list[str]]]:
    """(name, the answer of each of ``rows``); only the most common text where no training row has any."""
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
    known = TrainingTexts(split, column)
    yield "random_of_item", known.random_of_item(rows, seed)
    nearest = known.nearest(rows)
    yield "nearest_text", nearest
    if hint := TASKS[task].hint:
        features = [data.texts[hint][row] for row in rows.tolist()]
        yield "gold_feature", features
        found = known.nearest_with(rows, features)
        yield "nearest_with_feature", [text or other for text, other in zip(found, nearest, strict=True)]


def most_common_text(split: Split, column: str) -> str:
    """The text that training rows say most often (the first such): the best constant sentence, or nearly."""
    texts = split.data.texts[column]
    counts = Counter(texts[row] for row in split.rows("train").tolist() if texts[row])
    return counts.most_common(1)[0][0] if counts else ""


def first_sentence(text: str, longest: int) -> str:
    """The first ``longest`` words of the first sentence."""
    return " ".join(SENTENCE_END.split(text.strip(), maxsplit=1)[0].split()[:longest])


class TrainingTexts:
    """The texts of a column that training rows hold, to be picked from.

    ``users`` and ``items``: sparse [users | items, words], the TF-IDF of all that their training rows say
    (in reviews, where there are any), each row of norm 1.
    """

    def __init__(self, split: Split, column: str) -> None:
        data, train = split.data, split.rows("train")
        texts = data.texts[column]
        self.rows = np.array([row for row in train.tolist() if texts[row].strip()], np.int64)
        self.texts = [texts[row] for row in self.rows.tolist()]
        self.data, self.user, self.item = data, data.user[self.rows], data.item[self.rows]
        self.common = most_common_text(split, column)
        spoken = data.texts.get("review") or texts
        counts = _word_counts([spoken[row] for row in train.tolist()])
        self.users = _tfidf(data.user[train], data.number_of_users, counts)
        self.items = _tfidf(data.item[train], data.number_of_items, counts)
        self.by_user, self.by_item = _members(self.user), _members(self.item)

    def random_of_item(self, rows: np.ndarray, seed: int = 0) -> list[str]:
        """A training text of each row's item, drawn by the seed; of any item where it has none."""
        everything = np.arange(len(self.texts))
        places = [self.by_item.get(item, everything) for item in self.data.item[rows].tolist()]
        draws = hashed(seed, rows).tolist()
        return [self.texts[own[draw % len(own)]] for own, draw in zip(places, draws, strict=True)]

    def nearest(self, rows: np.ndarray) -> list[str]:
        """The nearest training text of the row's item or user; the most common text where neither has any."""
        of_item, item_score = self._nearest(rows, self.data.item[rows], self.by_item)
        of_user, user_score = self._nearest(rows, self.data.user[rows], self.by_user)
        places = np.where(item_score >= user_score, of_item, of_user)
        return [self.texts[place] if place >= 0 else self.common for place in places.tolist()]

    def nearest_with(self, rows: np.ndarray, features: Sequence[str]) -> list[str]:
        """The nearest training text that holds the row's feature; "" where none does."""
        finder = FeatureFinder(features)
        holders: dict[int, list[int]] = {}
        for place, text in enumerate(self.texts):
            for feature in finder(text):
                holders.setdefault(feature, []).append(place)
        members = {feature: np.array(places, np.int64) for feature, places in holders.items()}
        keys = np.array([finder.number.get(" ".join(words(feature)), -1) for feature in features])
        places, _ = self._nearest(rows, keys, members)
        return [self.texts[place] if place >= 0 else "" for place in places.tolist()]

    def _nearest(
        self, rows: np.ndarray, keys: np.ndarray, members: Mapping[int, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Place and similarity of the best of ``members[key]`` for each row; −1 and −1.0 where there is none.

        The similarity is the sum of the users' and the items' cosines; ties go to the earlier training row.
        """
        place, score = np.full(len(rows), -1, np.int64), np.full(len(rows), -1.0)
        user, item = self.data.user[rows], self.data.item[rows]
        for key, group in _members(keys).items():
            own = members.get(key)
            if own is None:
                continue
            for asked in np.array_split(group, -(-len(group) * len(own) // LARGEST)):
                table = _cosines(self.users, user[asked], self.user[own])
                table += _cosines(self.items, item[asked], self.item[own])
                place[asked], score[asked] = own[table.argmax(1)], table.max(1)
        return place, score


def _cosines(vectors: sparse.csr_array, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 [a, b]; 1 of anybody with itself, of whom nothing is known too."""
    return np.where(a[:, None] == b, 1.0, (vectors[a] @ vectors[b].T).toarray())


def _members(keys: np.ndarray) -> dict[int, np.ndarray]:
    """Key → the places that have it, in order."""
    order = np.argsort(keys, kind="stable")
    names, starts = np.unique(keys[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True)) if len(names) else {}


def _word_counts(texts: Sequence[str]) -> sparse.csr_array:
    """float64 [texts, words]: how often each word is in each text."""
    number: dict[str, int] = {}
    places = [[number.setdefault(word, len(number)) for word in words(text)] for text in texts]
    lengths = [len(part) for part in places]
    flat = np.array([place for part in places for place in part], np.int64)
    entries = (np.ones(len(flat)), (np.repeat(np.arange(len(texts)), lengths), flat))
    return sparse.csr_array(sparse.coo_array(entries, shape=(len(texts), max(len(number), 1))))


def _tfidf(owner: np.ndarray, owners: int, counts: sparse.csr_array) -> sparse.csr_array:
    """float64 [owners, words]: log(1 + count) × log(owners / owners with the word), each row of norm 1 or 0."""
    ones = (np.ones(len(owner)), (owner, np.arange(len(owner))))
    matrix = sparse.csr_array(sparse.coo_array(ones, shape=(owners, len(owner))) @ counts)
    matrix.sum_duplicates()
    having = np.bincount(matrix.indices, minlength=matrix.shape[1])
    matrix.data = np.log1p(matrix.data) * np.log(owners / np.maximum(having, 1))[matrix.indices]
    row = np.repeat(np.arange(owners), np.diff(matrix.indptr))
    norm = np.sqrt(np.bincount(row, matrix.data**2, owners))
    matrix.data /= np.maximum(norm, 1e-12)[row]
    return matrix


def _median_words(texts: Sequence[str], rows: np.ndarray) -> int:
    """The median number of words of the rows that have a text."""
    found = [len(texts[row].split()) for row in rows.tolist() if texts[row].strip()]
    return max(round(float(np.median(found))), 1)

"""Token and bigram counts of the training texts of each item, used to choose among samples of generated text.

MBR decoding returns the sample most similar to the others (`decoding.text_generation.mbr_choice`). The samples of a small
model agree on what is generic; what people wrote about this item is better evidence of which sample fits, and is the same
for every prompt. Only counts per item are stored, none per user, and only n-grams of at least MIN_COUNT training texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from p5t5.core.ragged import Ragged
from p5t5.core.randomness import sample
from p5t5.data.splits import Split
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.registry import TASKS
from p5t5.text.tokenizer import text_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MIN_COUNT = 2  # an n-gram is kept if at least so many training texts hold it
PRIOR = 12.0  # pseudo-count, in texts: weight of the frequencies over all texts beside an item's own
MAX_TEXTS = 100_000  # training texts, drawn by a hash
ALL = -1  # the "item" that stands for all texts
NONE = -1  # the second token of a unigram; both tokens of the row that counts an item's texts
PAIR = 32  # bits: token << PAIR | next token + 1
LOW = (1 << PAIR) - 1


@dataclass(frozen=True)
class ItemNgrams:
    """How many texts hold each token or bigram: ``code`` int64, ascending within an item, and ``count`` int64.

    Item i has the rows ``start[i]`` to ``start[i + 1]``, all texts together the last; ``texts`` int64: the number of texts
    per item; ``length``: the mean number of tokens of a text.
    """

    code: np.ndarray
    count: np.ndarray
    start: np.ndarray
    texts: np.ndarray
    length: float

    def expected_f1(self, item: int, answers: Sequence[Sequence[int]]) -> np.ndarray:
        """float64 [answers]: similarity of each answer to the texts about the item (−1: no item): the expected F1 of its
        tokens with those of a text, plus that of bigrams.

        A text is modelled as holding each n-gram independently, at the item's frequency smoothed by ``PRIOR`` texts
        at the overall frequency.
        """
        tokens = Ragged.from_lists(answers)
        owner, codes, pair = distinct_ngrams(tokens)
        frequency = PRIOR * self._counts(ALL, codes) / self.texts[ALL]
        text_count = 0
        if 0 <= item < len(self.texts) - 1:
            frequency, text_count = frequency + self._counts(item, codes), self.texts[item]
        frequency = frequency / (text_count + PRIOR)
        similarity = np.zeros(len(tokens))
        for size in (0, 1):
            of_size = pair == bool(size)
            overlap = np.bincount(owner[of_size], frequency[of_size], len(tokens))
            similarity += 2 * overlap / (np.maximum(tokens.lengths - size, 0) + max(self.length - size, 1.0))
        return similarity

    def _counts(self, item: int, codes: np.ndarray) -> np.ndarray:
        """float64 [codes]: how many texts of the item hold each n-gram."""
        item %= len(self.texts)
        start, end = self.start[item], self.start[item + 1]
        index = start + np.searchsorted(self.code[start:end], codes)
        bounded = np.minimum(index, end - 1)
        return np.where((index < end) & (self.code[bounded] == codes), self.count[bounded], 0).astype(
            np.float64
        )

    @staticmethod
    def fit(
        split: Split, task: str, tokenizer: PreTrainedTokenizerFast, options: BuildOptions, seed: int = 0
    ) -> ItemNgrams | None:
        """From the target texts of the task's training rows; None where they share no n-gram. No other row is read."""
        rows = TASKS[task].eligible(split, "train")
        rows = sample(rows, MAX_TEXTS, seed)
        if not len(rows):
            return None
        references = list(TASKS[task].build(split, rows, options).references or ())
        table = text_tokens(tokenizer, references)
        tokens = Ragged.from_lists([row[row >= 0].tolist() for row in table])
        return ItemNgrams.of(tokens, split.data.item[rows], split.data.number_of_items)

    @staticmethod
    def of(texts: Ragged, item: np.ndarray, items: int) -> ItemNgrams | None:
        """``texts`` int32 tokens, ``item`` int [texts] in 0 … items − 1. None where no two texts share an n-gram."""
        owner, codes, _ = distinct_ngrams(texts)
        distinct_codes, code_index, count = np.unique(codes, return_inverse=True, return_counts=True)
        frequent = count[code_index] >= MIN_COUNT
        if not frequent.any():
            return None
        owner_item, code = item[owner[frequent]].astype(np.int64), codes[frequent]
        order = np.lexsort((code, owner_item))
        owner_item, code = owner_item[order], code[order]
        first = np.flatnonzero(
            np.r_[True, (owner_item[1:] != owner_item[:-1]) | (code[1:] != code[:-1])][: len(owner_item)]
        )
        item_counts = np.diff(np.r_[first, len(owner_item)])
        is_common = count >= MIN_COUNT
        lengths = np.bincount(owner_item[first], minlength=items)[:items]
        start = np.r_[0, np.cumsum(np.r_[lengths, is_common.sum()])]
        texts_per_item = np.bincount(item, minlength=items)
        return ItemNgrams(
            np.r_[code[first], distinct_codes[is_common]],
            np.r_[item_counts, count[is_common]],
            start.astype(np.int64),
            np.r_[texts_per_item, len(texts)].astype(np.int64),
            float(texts.lengths.mean()),
        )


def fit_item_ngrams(
    tokenizer: PreTrainedTokenizerFast, split: Split, tasks: Sequence[str], options: BuildOptions
) -> dict[str, ItemNgrams]:
    """Slot (`Task.target_slot`) → the n-gram counts of each item's training texts, for the tasks that write."""
    ngrams: dict[str, ItemNgrams] = {}
    able = [task for task in tasks if TASKS[task].writes and not TASKS[task].missing(split.data)]
    for task in sorted(able, key=lambda task: -len(TASKS[task].eligible(split, "train"))):
        if TASKS[task].target_slot not in ngrams:
            fitted = ItemNgrams.fit(split, task, tokenizer, options)
            if fitted is not None:
                ngrams[TASKS[task].target_slot] = fitted
    return ngrams


def distinct_ngrams(texts: Ragged) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(text int64, code int64, is-bigram bool), each [distinct n-grams]: every token and bigram once per text."""
    row = np.repeat(np.arange(len(texts)), texts.lengths)
    token = texts.values.astype(np.int64)
    same_text = row[1:] == row[:-1]
    row = np.r_[row, row[1:][same_text]]
    code = np.r_[token << PAIR, (token[:-1] << PAIR | token[1:] + 1)[same_text]]
    distinct = np.unique(np.stack([row, code], 1), axis=0) if len(code) else np.zeros((0, 2), np.int64)
    return distinct[:, 0], distinct[:, 1], (distinct[:, 1] & LOW) > 0


class ItemNgramTable:
    """N-gram counts of several slots as a Parquet file in memory: slot, item_id, first, second, count. Decoded on demand."""

    def __init__(self, data: bytes, lengths: Mapping[str, float]) -> None:
        self.data, self.lengths = data, dict(lengths)

    @staticmethod
    def of(ngrams: Mapping[str, ItemNgrams], item_ids: Sequence[str]) -> ItemNgramTable:
        """``ngrams``: by slot (`Task.target_slot`). Items are stored by id, since items may be added later."""
        parts = []
        names = [*item_ids, ""]  # the last is all of them
        for slot, item_ngrams in ngrams.items():
            with_texts = np.flatnonzero(item_ngrams.texts)
            item = np.r_[np.repeat(np.arange(len(names)), np.diff(item_ngrams.start)), with_texts]
            none = np.full(len(with_texts), NONE)
            columns = {
                "first": np.r_[item_ngrams.code >> PAIR, none],
                "second": np.r_[(item_ngrams.code & LOW) - 1, none],
                "count": np.r_[item_ngrams.count, item_ngrams.texts[with_texts]],
            }
            part = pd.DataFrame(columns).astype(np.int32)
            part["item_id"] = pd.Categorical.from_codes(item, categories=pd.Index(names))
            parts.append(part.assign(slot=slot)[["slot", "item_id", *columns]])
        data = pd.concat(parts, ignore_index=True).to_parquet(None, index=False, compression="zstd")
        return ItemNgramTable(data, {slot: item_ngrams.length for slot, item_ngrams in ngrams.items()})

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return pd.read_parquet(BytesIO(self.data))

    def read(self, slot: str, item_ids: Sequence[str]) -> ItemNgrams:
        """The counts of one slot, with items numbered as in ``item_ids``."""
        frame = self._frame[self._frame["slot"] == slot]
        index_of = {name: index for index, name in enumerate([*item_ids, ""])}
        item_of_category = [index_of.get(name, -1) for name in frame["item_id"].cat.categories]
        item = np.array(item_of_category, np.int64)[frame["item_id"].cat.codes]
        first, second, count = (frame[name].to_numpy(np.int64) for name in ("first", "second", "count"))
        is_ngram, code = first != NONE, first << PAIR | second + 1
        texts = np.bincount(item[~is_ngram], count[~is_ngram], len(index_of)).astype(np.int64)
        order = np.lexsort((code, item, ~is_ngram))[: is_ngram.sum()]
        start = np.r_[0, np.cumsum(np.bincount(item[is_ngram], minlength=len(index_of)))].astype(np.int64)
        return ItemNgrams(code[order], count[order], start, texts, self.lengths[slot])

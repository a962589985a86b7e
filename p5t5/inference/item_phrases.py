"""Which words and pairs of words the training texts about each item hold: what samples of text are chosen by.

Of many samples the one is answered that the others are most like (`decoding.text_generation.mbr_choice`). A small model's
samples agree on what is safe; what people said of this item says better which of them is apt, and in any wording of
the question the same. Counts of items alone are kept, no user's, and of what at least LEAST training texts hold.
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
from p5t5.core.randomness import hashed
from p5t5.data.splits import Split
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.registry import TASKS
from p5t5.text.tokenizer import text_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MIN_COUNT = 2  # training texts that hold it, or it is not kept
PRIOR = 12.0  # texts: how much what all texts say counts beside an item's own
MAX_TEXTS = 100_000  # training texts, drawn by a hash
ALL = -1  # the "item" of what all texts say
NONE = -1  # the second token of a single one; both tokens of the row that counts an item's texts
PAIR = 32  # bits: token << PAIR | next token + 1
LOW = (1 << PAIR) - 1


@dataclass(frozen=True)
class ItemNgrams:
    """How many texts hold each token or pair: ``code`` int64, ascending in each item, ``count`` int64.

    Rows of item i: ``start[i]`` to ``start[i + 1]``, of all texts the last such; ``texts`` int64: how many an item has;
    ``length``: tokens of a text on average.
    """

    code: np.ndarray
    count: np.ndarray
    start: np.ndarray
    texts: np.ndarray
    length: float

    def expected_f1(self, item: int, answers: Sequence[Sequence[int]]) -> np.ndarray:
        """float64 [answers]: how much each is like what is said of the item, −1 for none: the expected F1 of its
        tokens with a text's, plus that of pairs.

        A text is thought to hold what ``PRIOR`` texts of all and the item's own hold, each independently.
        """
        tokens = Ragged.from_lists(answers)
        owner, codes, pair = distinct_ngrams(tokens)
        share = PRIOR * self._counts(ALL, codes) / self.texts[ALL]
        number = 0
        if 0 <= item < len(self.texts) - 1:
            share, number = share + self._counts(item, codes), self.texts[item]
        share = share / (number + PRIOR)
        found = np.zeros(len(tokens))
        for size in (0, 1):
            mine = pair == bool(size)
            shared = np.bincount(owner[mine], share[mine], len(tokens))
            found += 2 * shared / (np.maximum(tokens.lengths - size, 0) + max(self.length - size, 1.0))
        return found

    def _counts(self, item: int, codes: np.ndarray) -> np.ndarray:
        """float64 [codes]: how many texts of the item hold each."""
        item %= len(self.texts)
        start, end = self.start[item], self.start[item + 1]
        place = start + np.searchsorted(self.code[start:end], codes)
        known = np.minimum(place, end - 1)
        return np.where((place < end) & (self.code[known] == codes), self.count[known], 0).astype(np.float64)

    @staticmethod
    def fit(
        split: Split, task: str, tokenizer: PreTrainedTokenizerFast, options: BuildOptions, seed: int = 0
    ) -> ItemNgrams | None:
        """From what the task's training rows write; None where they have nothing in common. No other row is read."""
        rows = TASKS[task].eligible(split, "train")
        if len(rows) > MAX_TEXTS:
            rows = np.sort(rows[np.argsort(hashed(seed, rows), kind="stable")[:MAX_TEXTS]])
        if not len(rows):
            return None
        references = list(TASKS[task].build(split, rows, options).references or ())
        table = text_tokens(tokenizer, references)
        tokens = Ragged.from_lists([row[row >= 0].tolist() for row in table])
        return ItemNgrams.of(tokens, split.data.item[rows], split.data.number_of_items)

    @staticmethod
    def of(texts: Ragged, item: np.ndarray, items: int) -> ItemNgrams | None:
        """``texts`` int32 tokens, ``item`` int [texts] of 0 … items − 1. None where no two texts say the same."""
        owner, codes, _ = distinct_ngrams(texts)
        names, place, count = np.unique(codes, return_inverse=True, return_counts=True)
        kept = count[place] >= MIN_COUNT
        if not kept.any():
            return None
        own, code = item[owner[kept]].astype(np.int64), codes[kept]
        order = np.lexsort((code, own))
        own, code = own[order], code[order]
        first = np.flatnonzero(np.r_[True, (own[1:] != own[:-1]) | (code[1:] != code[:-1])][: len(own)])
        number = np.diff(np.r_[first, len(own)])
        common = count >= MIN_COUNT
        lengths = np.bincount(own[first], minlength=items)[:items]
        start = np.r_[0, np.cumsum(np.r_[lengths, common.sum()])]
        had = np.bincount(item, minlength=items)
        return ItemNgrams(
            np.r_[code[first], names[common]],
            np.r_[number, count[common]],
            start.astype(np.int64),
            np.r_[had, len(texts)].astype(np.int64),
            float(texts.lengths.mean()),
        )


def fit_item_ngrams(
    tokenizer: PreTrainedTokenizerFast, split: Split, tasks: Sequence[str], options: BuildOptions
) -> dict[str, ItemNgrams]:
    """Slot (`Task.target_slot`) → what training texts say of each item, for the tasks that write."""
    found: dict[str, ItemNgrams] = {}
    able = [task for task in tasks if TASKS[task].writes and not TASKS[task].missing(split.data)]
    for task in sorted(able, key=lambda task: -len(TASKS[task].eligible(split, "train"))):
        if TASKS[task].target_slot not in found:
            one = ItemNgrams.fit(split, task, tokenizer, options)
            if one is not None:
                found[TASKS[task].target_slot] = one
    return found


def distinct_ngrams(texts: Ragged) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(text int64, code int64, whether it is a pair) of every token and pair of neighbours, once a text."""
    row = np.repeat(np.arange(len(texts)), texts.lengths)
    token = texts.values.astype(np.int64)
    inside = row[1:] == row[:-1]
    row = np.r_[row, row[1:][inside]]
    code = np.r_[token << PAIR, (token[:-1] << PAIR | token[1:] + 1)[inside]]
    both = np.unique(np.stack([row, code], 1), axis=0) if len(code) else np.zeros((0, 2), np.int64)
    return both[:, 0], both[:, 1], (both[:, 1] & LOW) > 0


class ItemNgramTable:
    """Phrases of several slots as the bytes of a Parquet file: slot, item_id, first, second, count. Read when asked."""

    def __init__(self, data: bytes, lengths: Mapping[str, float]) -> None:
        self.data, self.lengths = data, dict(lengths)

    @staticmethod
    def of(found: Mapping[str, ItemNgrams], item_ids: Sequence[str]) -> ItemNgramTable:
        """``found``: by slot (`Task.target_slot`). Items are kept by their ids: more of them may come to be known later."""
        parts = []
        names = [*item_ids, ""]  # the last is all of them
        for slot, own in found.items():
            having = np.flatnonzero(own.texts)
            item = np.r_[np.repeat(np.arange(len(names)), np.diff(own.start)), having]
            none = np.full(len(having), NONE)
            columns = {
                "first": np.r_[own.code >> PAIR, none],
                "second": np.r_[(own.code & LOW) - 1, none],
                "count": np.r_[own.count, own.texts[having]],
            }
            part = pd.DataFrame(columns).astype(np.int32)
            part["item_id"] = pd.Categorical.from_codes(item, categories=pd.Index(names))
            parts.append(part.assign(slot=slot)[["slot", "item_id", *columns]])
        data = pd.concat(parts, ignore_index=True).to_parquet(None, index=False, compression="zstd")
        return ItemNgramTable(data, {slot: own.length for slot, own in found.items()})

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return pd.read_parquet(BytesIO(self.data))

    def read(self, slot: str, item_ids: Sequence[str]) -> ItemNgrams:
        """The slot's phrases, of items as numbered by ``item_ids``."""
        frame = self._frame[self._frame["slot"] == slot]
        number = {name: place for place, name in enumerate([*item_ids, ""])}
        known = [number.get(name, -1) for name in frame["item_id"].cat.categories]
        item = np.array(known, np.int64)[frame["item_id"].cat.codes]
        first, second, count = (frame[name].to_numpy(np.int64) for name in ("first", "second", "count"))
        told, code = first != NONE, first << PAIR | second + 1
        texts = np.bincount(item[~told], count[~told], len(number)).astype(np.int64)
        order = np.lexsort((code, item, ~told))[: told.sum()]
        start = np.r_[0, np.cumsum(np.bincount(item[told], minlength=len(number)))].astype(np.int64)
        return ItemNgrams(code[order], count[order], start, texts, self.lengths[slot])

"""All items with their identifiers, titles and the trie over the identifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_path
from p5t5.decoding.trie import Trie

CATALOGUE_FILE, TRIE_FILE = "catalogue.parquet", "trie.safetensors"
ITEM_BIAS = "item_bias"
ITEM_COUNT = "item_count"


@dataclass(frozen=True)
class Catalogue:
    """Items by number (row): ids and titles for people, tokens and trie for the model.
    - ``items``: DataFrame with ``item_id``, ``title`` and, if known, ``attributes`` (one text per item),
      ``identifier`` (its spelling, tokens joined by a space) and ``item_bias`` (float32, NaN for items
      added later: how much better than the mean it is rated, `p5t5.inference.rating_calibration`).
    - ``tokens``: int32 [items, levels], token ids of the identifiers, padded with −1.
    - ``trie``: over these tokens (with ``</s>`` where they differ in length).
    """

    items: pd.DataFrame
    tokens: np.ndarray
    trie: Trie

    @staticmethod
    def build(
        item_ids: Sequence[str],
        tokens: np.ndarray,
        titles: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
        identifiers: Sequence[str] | None = None,
        eos: int = 1,
    ) -> Catalogue:
        """``titles`` default to the ids. Raises UserError for duplicate ids and for columns of different lengths."""
        columns = {
            "item_id": item_ids,
            "title": titles if titles is not None else item_ids,
            "attributes": attributes,
            "identifier": identifiers,
        }
        texts = {name: [str(v) for v in values] for name, values in columns.items() if values is not None}
        for name, values in texts.items():
            if len(values) != len(tokens):
                raise UserError(f"catalogue: {len(tokens)} identifiers, but {len(values)} values in {name!r}")
        items = pd.DataFrame(texts)
        duplicates = items["item_id"][items["item_id"].duplicated()]
        if len(duplicates):
            raise UserError(f"catalogue: item_id {duplicates.iloc[0]!r} occurs more than once")
        tokens = np.ascontiguousarray(tokens, np.int32)
        return Catalogue(items, tokens, Trie.build(tokens, eos=eos))

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def item_ids(self) -> list[str]:
        return self.items["item_id"].tolist()

    @cached_property
    def titles(self) -> list[str]:
        return self.items["title"].tolist()

    @cached_property
    def index_of(self) -> dict[str, int]:
        """item_id → item number."""
        return {item_id: number for number, item_id in enumerate(self.item_ids)}

    @property
    def item_count(self) -> np.ndarray | None:
        """int64 [items]: training interactions with each item, 0 for items that came later; None where none were kept."""
        return self.items[ITEM_COUNT].to_numpy(np.int64) if ITEM_COUNT in self.items else None

    def set_item_count(self, count: np.ndarray) -> None:
        """Keeps these [items], in this very table: UserError where their number is another."""
        if len(count) != len(self):
            raise UserError(f"catalogue: {len(self)} items, but {len(count)} values in {ITEM_COUNT!r}")
        self.items[ITEM_COUNT] = np.asarray(count, np.int64)

    @property
    def item_bias(self) -> np.ndarray | None:
        """float32 [items], NaN where unknown; None where none were stored."""
        return self.items[ITEM_BIAS].to_numpy(np.float32) if ITEM_BIAS in self.items else None

    def set_item_bias(self, bias: np.ndarray) -> None:
        """Stores ``bias`` float [items] in this catalogue. Raises UserError if it has another length."""
        if len(bias) != len(self):
            raise UserError(f"catalogue: {len(self)} items, but {len(bias)} values in {ITEM_BIAS!r}")
        self.items[ITEM_BIAS] = np.asarray(bias, np.float32)

    def numbers(self, item_ids: Sequence[str]) -> np.ndarray:
        """int64 [ids]: item numbers, −1 for ids that are not in the catalogue."""
        return np.fromiter((self.index_of.get(i, -1) for i in item_ids), np.int64, len(item_ids))

    def digest(self) -> str:
        """16 hex digits of the ids and their tokens: identifies the weights that a catalogue belongs to."""
        digest = blake2b("\0".join(self.item_ids).encode(), digest_size=8)
        digest.update(self.tokens.tobytes())
        return digest.hexdigest()

    def save(self, folder: str | Path) -> None:
        """Writes catalogue.parquet and trie.safetensors, each under a temporary name first."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.trie.save(folder / TRIE_FILE)
        present = self.tokens >= 0
        tokens = [row[keep] for row, keep in zip(self.tokens, present, strict=True)]
        with atomic_path(folder / CATALOGUE_FILE) as temporary:
            self.items.assign(tokens=tokens).to_parquet(temporary, index=False)

    @staticmethod
    def load(folder: str | Path) -> Catalogue:
        """Raises UserError where a file is missing or unreadable, or the two files do not belong together."""
        path = Path(folder) / CATALOGUE_FILE
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as the catalogue of a checkpoint ({error})") from error
        trie = Trie.load(Path(folder) / TRIE_FILE)
        if len(trie) != len(table):
            raise UserError(
                f"{folder}: {CATALOGUE_FILE} has {len(table)} items, {TRIE_FILE} has {len(trie)}: copy both files from one checkpoint"
            )
        lengths = table["tokens"].str.len().to_numpy()
        tokens = np.full((len(table), int(lengths.max(initial=1))), -1, np.int32)
        if len(table):
            tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = np.concatenate(table["tokens"].to_numpy())
        return Catalogue(table.drop(columns="tokens"), tokens, trie)

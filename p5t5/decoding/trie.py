"""A trie over item identifiers as flat arrays: which token may follow which, and which item a path leads to.

Nodes are numbered level by level in sorted order of their token paths, so the children of a node are
adjacent and a node needs only the number of its first child. There is no Python object per
item: building takes one sort and a few passes, and a level whose nodes all have one child stores no
pointers at all. The idea of tries as CSR arrays is from STATIC (arXiv 2602.22647); leaf positions, which
it lacks, are the basis of exclusion, allow-lists and candidate scoring here.

Terms: a *position* is an item's rank in sorted order of identifiers (a leaf); a *code* is a token's
index among its level's tokens; *level* d holds the nodes that are d tokens deep, level 0 is the root.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_path
from p5t5.core.ragged import Ragged
from p5t5.decoding.trie_building import as_codes, checked_lengths, levels_of, sorted_columns

FORMAT = "p5t5-trie-1"


class Trie:
    """Identifiers of ``items`` items, prefix-free, at most ``depth`` tokens deep.

    - ``level_tokens[d]``: int32, the distinct tokens at index d of an identifier, ascending.
    - ``codes[d]``: for each node of level d + 1 its last token, as an index into ``level_tokens[d]``
      (the smallest of uint8, int16, int32 that fits).
    - ``first_child[d]``: int32 [nodes of level d, + 1]: node n's children are the nodes
      ``first_child[d][n]:first_child[d][n + 1]`` of level d + 1; None where every node has one child.
    - ``item_of_position``: int32 [items]: the item at each leaf, in sorted order.
    - ``has_eos``: every identifier ends in ``eos`` here. This is so where identifiers differ in length,
      since one may then be the beginning of another.
    """

    def __init__(
        self,
        level_tokens: Sequence[np.ndarray],
        codes: Sequence[np.ndarray],
        first_child: Sequence[np.ndarray | None],
        item_of_position: np.ndarray,
        has_eos: bool,
        eos: int,
    ) -> None:
        self.level_tokens, self.codes, self.first_child = list(level_tokens), list(codes), list(first_child)
        self.item_of_position, self.has_eos, self.eos = item_of_position, has_eos, eos
        self._on_device: dict = {}

    # ---- building -------------------------------------------------------------------------------

    @staticmethod
    def build(tokens: np.ndarray, *, eos: int = 1, end: bool | None = None, items=None) -> Trie:
        """From int [items, levels] token ids, padded with −1.

        ``end``: append ``eos`` to every identifier; None does so only where lengths differ.
        ``items``: the item number of each row (default 0, 1, …). Raises UserError for an empty
        identifier, a token after a −1, two equal identifiers, or (end=False) one that begins another.
        """
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.shape[1] == 0:
            raise UserError(f"identifiers must be a table [items, levels], not of shape {tokens.shape}")
        lengths = checked_lengths(tokens)
        end = bool((lengths != tokens.shape[1]).any()) if end is None else end
        if end:
            tokens = np.concatenate([tokens, np.full((len(tokens), 1), -1, tokens.dtype)], 1)
            tokens[np.arange(len(tokens)), lengths] = eos
            lengths = lengths + 1
        coded = [as_codes(column) for column in np.ascontiguousarray(tokens.T)]
        level_tokens = [distinct for _, distinct in coded]
        order, columns = sorted_columns(
            [code for code, _ in coded], [len(distinct) for distinct in level_tokens]
        )
        numbers = order if items is None else np.asarray(items)[order]
        ends = None if bool((lengths == tokens.shape[1]).all()) else lengths[order]
        codes, first_child = levels_of(columns, ends, numbers)
        while codes and not len(codes[-1]):  # columns that are −1 throughout
            codes, first_child, level_tokens = codes[:-1], first_child[:-1], level_tokens[:-1]
        return Trie(level_tokens, codes, first_child, numbers.astype(np.int32), end, eos)

    def subset(self, items: np.ndarray) -> Trie:
        """The trie of these items only (an allow-list, or the rest after a withdrawal).

        Item numbers are kept. The work is proportional to the items kept.
        """
        items = np.unique(np.asarray(items, np.int64))
        trie = Trie.build(self.paths(items), eos=self.eos, end=False, items=items)
        trie.has_eos = self.has_eos
        return trie

    def without(self, items: np.ndarray) -> Trie:
        """The trie after these items are withdrawn; the numbers of the others are kept."""
        return self.subset(np.setdiff1d(self.item_of_position, np.asarray(items)))

    def appended(self, tokens: np.ndarray) -> Trie:
        """The trie with new items ``tokens`` int [n, levels], which get the next free item numbers."""
        old = self.item_of_position.astype(np.int64)
        new = np.asarray(tokens)
        numbers = np.concatenate([old, int(old.max(initial=-1)) + 1 + np.arange(len(new))])
        rows = _stacked(self._identifiers(), new)
        even = bool((rows >= 0).all()) and not self.has_eos
        return Trie.build(rows, eos=self.eos, end=None if even else True, items=numbers)

    def ended(self, end: bool) -> Trie:
        """The same items with ``</s>`` as the last token of every identifier, or without it."""
        if end == self.has_eos:
            return self
        key = ("ended", end)
        if key not in self._on_device:
            rows = self._identifiers()
            self._on_device[key] = Trie.build(rows, eos=self.eos, end=end, items=self.item_of_position)
        return self._on_device[key]

    def _identifiers(self) -> np.ndarray:
        """int32 [items, levels]: tokens in order of position, without ``</s>``."""
        rows = self.paths(self.item_of_position)
        if self.has_eos:
            rows[np.arange(len(rows)), (rows >= 0).sum(1) - 1] = -1
            rows = rows[:, : max(self.depth - 1, 1)]
        return rows

    # ---- shape ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.item_of_position)

    @property
    def depth(self) -> int:
        return len(self.codes)

    def nodes(self, level: int) -> int:
        return 1 if level == 0 else len(self.codes[level - 1])

    def children_of(self, level: int, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two int arrays shaped as ``nodes``: the first child of each and the end of its children, as nodes of the next level."""
        pointers = self.first_child[level]
        if pointers is None:
            return nodes, nodes + 1
        return pointers[nodes], pointers[nodes + 1]

    @cached_property
    def max_branch(self) -> list[int]:
        """For each level but the last, the largest number of children of a node."""
        return [1 if p is None else int(np.diff(p).max(initial=0)) for p in self.first_child]

    @cached_property
    def leaf_levels(self) -> list[str]:
        """For each level: "none", "some" or "all" of its nodes are items."""
        kinds = []
        for level in range(self.depth + 1):
            if level == self.depth:
                kinds.append("all")
            else:
                pointers = self.first_child[level]
                childless = 0 if pointers is None else int((np.diff(pointers) == 0).sum())
                kinds.append("some" if childless else "none")
        return kinds

    @cached_property
    def leaf_counts(self) -> list[np.ndarray]:
        """For each level, int32 [nodes]: the number of items below (or at) each node."""
        counts = [np.ones(self.nodes(self.depth), np.int32)]
        for level in range(self.depth - 1, -1, -1):
            pointers = self.first_child[level]
            if pointers is None:
                counts.append(counts[-1])
                continue
            before = np.concatenate([[0], np.cumsum(counts[-1])])
            below = before[pointers[1:]] - before[pointers[:-1]]
            counts.append(np.where(np.diff(pointers) == 0, 1, below).astype(np.int32))
        return counts[::-1]

    @cached_property
    def first_position(self) -> list[np.ndarray]:
        """For each level, int32 [nodes]: the position of the first item below (or at) each node."""
        first = [np.zeros(1, np.int32)]
        for level in range(self.depth):
            pointers = self.first_child[level]
            if pointers is None:
                first.append(first[-1])
                continue
            counts = self.leaf_counts[level + 1]
            before = np.cumsum(counts) - counts
            has_child = np.diff(pointers) > 0
            shift = first[-1][has_child] - before[pointers[:-1][has_child]]
            first.append((before + np.repeat(shift, np.diff(pointers)[has_child])).astype(np.int32))
        return first

    @cached_property
    def position_of_item(self) -> np.ndarray:
        """int32 [largest item number + 1]: −1 where the trie holds no such item."""
        table = np.full(int(self.item_of_position.max(initial=-1)) + 1, -1, np.int32)
        table[self.item_of_position] = np.arange(len(self), dtype=np.int32)
        return table

    @cached_property
    def lengths(self) -> np.ndarray:
        """int32 [items]: the number of tokens of the identifier at each position."""
        lengths = np.full(len(self), self.depth, np.int32)
        for level in range(1, self.depth):
            if self.leaf_levels[level] == "some":
                pointers = self.first_child[level]
                assert pointers is not None
                lengths[self.first_position[level][np.diff(pointers) == 0]] = level
        return lengths

    def positions(self, items: np.ndarray, what: str = "candidates") -> np.ndarray:
        """int64, shaped as ``items``. Raises UserError for an item that the trie does not hold."""
        items = np.asarray(items, np.int64)
        table = np.append(self.position_of_item, np.int32(-1))
        in_range = (items >= 0) & (items < len(table))
        positions = table[np.where(in_range, items, -1)].astype(np.int64)
        if (positions < 0).any():
            raise UserError(f"{what}: item {int(items[positions < 0][0])} is not in the catalogue")
        return positions

    def ancestors(self, positions: np.ndarray, level: int) -> np.ndarray:
        """int64, shaped as ``positions``: the node of this level on the path to each position.

        For an identifier that ends above the level it is that of the item before, or −1.
        """
        if self.nodes(level) == len(self):
            return np.asarray(positions, np.int64)
        return np.searchsorted(self.first_position[level], positions, "right") - 1

    def paths(self, items: np.ndarray) -> np.ndarray:
        """int32 [n, depth]: the tokens of each item as the trie holds them, padded with −1."""
        positions = self.positions(items, "items")
        rows = np.full((len(positions), self.depth), -1, np.int32)
        for level in range(self.depth):
            has_token = self.lengths[positions] > level
            node = self.ancestors(positions[has_token], level + 1)
            rows[has_token, level] = self.level_tokens[level][self.codes[level][node].astype(np.int64)]
        return rows

    @property
    def bytes(self) -> int:
        """The size of the stored arrays in bytes."""
        arrays = [*self.level_tokens, *self.codes, *(p for p in self.first_child if p is not None)]
        return sum(array.nbytes for array in arrays) + self.item_of_position.nbytes

    # ---- exclusion and allow-lists ----------------------------------------------------------------

    def blocked(self, exclude: Ragged) -> list[np.ndarray]:
        """For each level, ascending int64 keys ``user * nodes + node`` of nodes with no item left.

        By leaf counts along the paths; the work is proportional to the excluded items times the depth. Items
        that the trie does not hold are ignored.
        """
        users, positions = self._user_positions(exclude)
        keys = []
        for level in range(self.depth + 1):
            node = self.ancestors(positions, level)
            reaches_level = self.lengths[positions] >= level
            key, count = np.unique((users * self.nodes(level) + node)[reaches_level], return_counts=True)
            keys.append(key[count == self.leaf_counts[level][key % self.nodes(level)]])
        return keys

    def reachable(self, allow: Ragged, exclude: Ragged | None = None) -> list[np.ndarray]:
        """For each level, ascending int64 keys ``user * nodes + node`` of nodes with an allowed item below."""
        users, positions = self._user_positions(allow)
        if exclude is not None:
            other_users, other = self._user_positions(exclude)
            keep = ~np.isin(users * len(self) + positions, other_users * len(self) + other)
            users, positions = users[keep], positions[keep]
        keys = []
        for level in range(self.depth + 1):
            reaches_level = self.lengths[positions] >= level
            keys.append(
                np.unique((users * self.nodes(level) + self.ancestors(positions, level))[reaches_level])
            )
        return keys

    def _user_positions(self, items: Ragged) -> tuple[np.ndarray, np.ndarray]:
        """Distinct (user, position) pairs of the items that the trie holds."""
        values = np.asarray(items.values, np.int64)
        in_range = (values >= 0) & (values < len(self.position_of_item))
        users = items.row_of_value[in_range]
        positions = self.position_of_item[values[in_range]].astype(np.int64)
        pairs = np.unique(users[positions >= 0] * max(len(self), 1) + positions[positions >= 0])
        return pairs // max(len(self), 1), pairs % max(len(self), 1)

    # ---- disk -------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file, under a temporary name first."""
        from safetensors.numpy import save_file

        arrays = {f"level_tokens.{d}": a for d, a in enumerate(self.level_tokens)}
        arrays |= {f"codes.{d}": a for d, a in enumerate(self.codes)}
        arrays |= {f"first_child.{d}": a for d, a in enumerate(self.first_child) if a is not None}
        arrays["item_of_position"] = self.item_of_position
        header = {"format": FORMAT, "depth": self.depth, "has_eos": self.has_eos, "eos": self.eos}
        arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
        with atomic_path(path) as temporary:
            save_file(arrays, str(temporary), metadata={"trie": json.dumps(header)})

    @staticmethod
    def load(path: str | Path) -> Trie:
        """Reads a trie, memory-mapped: pages are loaded when they are used. Raises UserError for any other file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:  # "pt" maps the file, "np" would copy it
                header = json.loads((file.metadata() or {}).get("trie", "{}"))
                if header.get("format") != FORMAT:
                    raise UserError(f"{path}: not a {FORMAT} file; save the catalogue again")
                arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: cannot be read as a trie ({error})") from error
        levels = range(header["depth"])
        return Trie(
            [arrays[f"level_tokens.{d}"] for d in levels],
            [arrays[f"codes.{d}"] for d in levels],
            [arrays.get(f"first_child.{d}") for d in levels],
            arrays["item_of_position"],
            header["has_eos"],
            header["eos"],
        )


def _stacked(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rows of two tables of different width, padded with −1."""
    width = max(a.shape[1], b.shape[1])
    return np.concatenate([np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=-1) for x in (a, b)])

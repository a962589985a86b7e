"""Beam search down the trie: only real items, no duplicates, and a certificate where the result is exact.

Log-probabilities only fall along a path. So if no pruned prefix scores above the K-th final item, nothing
below a pruned prefix can either, and the K items found are the K best of the whole catalogue. The check costs
one comparison, and every result carries its outcome (``certified``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from p5t5.core.ragged import Ragged
from p5t5.decoding.tree_decoder import NEVER, EncoderCache, TreeDecoder, log_normalizer, token_logits
from p5t5.decoding.trie import Trie


class TrieOnDevice:
    """The trie's arrays as tensors (views of the same memory on a CPU)."""

    def __init__(self, trie: Trie, device: torch.device) -> None:
        def put(array: np.ndarray) -> Tensor:
            if not array.flags.writeable:
                array = array.copy()
            return torch.from_numpy(array).to(device)

        self.trie = trie
        self.first_child = [None if p is None else put(p) for p in trie.first_child]
        self.codes = [put(codes) for codes in trie.codes]
        self.tokens = [put(tokens.astype(np.int64)) for tokens in trie.level_tokens]
        self.columns: list[Tensor | slice] = [
            _as_slice(tokens, device_tokens)
            for tokens, device_tokens in zip(trie.level_tokens, self.tokens, strict=True)
        ]
        self._several: dict[int, Tensor] = {}
        # where a level has as many nodes as there are items, a node's number is its item's position
        needed = [kind != "none" and trie.nodes(d) < len(trie) for d, kind in enumerate(trie.leaf_levels)]
        self.first_position = [put(trie.first_position[d]) if need else None for d, need in enumerate(needed)]

    @staticmethod
    def of(trie: Trie, device: torch.device) -> TrieOnDevice:
        """The tensors of a trie on a device; cached with the trie."""
        if device not in trie._on_device:
            trie._on_device[device] = TrieOnDevice(trie, device)
        return trie._on_device[device]

    def children(self, level: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Of nodes long [B, W]: children long [B, W, most children of a node], and bool, which of them exist."""
        pointers = self.first_child[level]
        if pointers is None:
            children = nodes[..., None]
            return children, torch.ones_like(children, dtype=torch.bool)
        first, end = pointers[nodes].long(), pointers[nodes + 1].long()
        children = first[..., None] + torch.arange(self.trie.max_branch[level], device=nodes.device)
        return children.clamp(max=self.trie.nodes(level + 1) - 1), children < end[..., None]

    def only_child(self, level: int, nodes: Tensor) -> Tensor:
        """long, shaped as ``nodes``: the child of each, which must have exactly one."""
        pointers = self.first_child[level]
        return nodes if pointers is None else pointers[nodes].long()

    def several_items(self, level: int) -> Tensor:
        """bool [nodes of the level]: whether there is more than one item below."""
        if level not in self._several:
            counts = torch.from_numpy(self.trie.leaf_counts[level] > 1)
            self._several[level] = counts.to(self.tokens[0].device)
        return self._several[level]

    def positions(self, level: int, nodes: Tensor) -> Tensor:
        """long, shaped as ``nodes``: the positions of leaf nodes of this level."""
        first = self.first_position[level]
        return nodes if first is None else first[nodes].long()


def _as_slice(tokens: np.ndarray, device_tokens: Tensor) -> Tensor | slice:
    """Consecutive token ids as a slice (a view of the head's rows), others as they are (a copy)."""
    if len(tokens) and int(tokens[-1]) - int(tokens[0]) + 1 == len(tokens):
        return slice(int(tokens[0]), int(tokens[-1]) + 1)
    return device_tokens


class Filter:
    """The nodes that a user may enter, as keys ``user * nodes + node`` of the blocked or of the allowed ones."""

    def __init__(self, keys: list[Tensor], allowed: bool, trie: Trie) -> None:
        self.keys, self.allowed, self.trie = keys, allowed, trie

    @staticmethod
    def of(trie: Trie, exclude: Ragged | None, allow: Ragged | None, device: torch.device) -> Filter | None:
        if allow is not None:
            keys = trie.reachable(allow, exclude)
        elif exclude is not None and len(exclude.values):
            keys = trie.blocked(exclude)
        else:
            return None
        return Filter([torch.from_numpy(level).to(device) for level in keys], allow is not None, trie)

    def users(self, users: Tensor) -> Filter:
        """The filter of some users (long [n], ascending), renumbered to 0 … n − 1."""
        keys = []
        for level, level_keys in enumerate(self.keys):
            nodes = self.trie.nodes(level)
            rank = torch.searchsorted(users, level_keys // nodes).clamp(max=len(users) - 1)
            is_of_users = users[rank] == level_keys // nodes
            keys.append((rank * nodes + level_keys % nodes)[is_of_users])
        return Filter(keys, self.allowed, self.trie)

    def passes(self, level: int, nodes: Tensor) -> Tensor:
        """bool, shaped as ``nodes`` [B, …]: which nodes of a level may be entered."""
        keys = self.keys[level]
        if not len(keys):
            return torch.full_like(nodes, not self.allowed, dtype=torch.bool)
        users = torch.arange(nodes.shape[0], device=nodes.device).view(-1, *[1] * (nodes.dim() - 1))
        node_keys = users * self.trie.nodes(level) + nodes
        is_listed = keys[torch.searchsorted(keys, node_keys).clamp(max=len(keys) - 1)] == node_keys
        return is_listed if self.allowed else ~is_listed


@dataclass
class Found:
    """K items per user as tensors: ``scores`` float32 [B, K] descending, ``positions`` long [B, K], and
    ``bound`` [B], the score of the best prefix that was pruned."""

    scores: Tensor
    positions: Tensor
    bound: Tensor

    @property
    def certified(self) -> Tensor:
        """bool [B]: no pruned prefix scores above the last item found."""
        return self.bound <= self.scores[:, -1]


def child_scores(
    model, tries: TrieOnDevice, level: int, hidden: Tensor, nodes: Tensor, filter: Filter | None, scores: str
) -> tuple[Tensor, Tensor]:
    """Children long [B, W, C] of each row's node, and log p(child | row) as float32 [B, W, C], −inf where
    there is no such child or no permitted item below it.

    ``scores``: "vocabulary" is log-softmax over the whole vocabulary, as in `generate`; "trie" over
    the allowed children only, as in `generate(renormalize_logits=True)`.
    """
    children, exists = tries.children(level, nodes)
    if filter is not None:
        exists = exists & filter.passes(level + 1, children)
    logits = token_logits(model, hidden, tries.columns[level])
    logits = logits.gather(2, tries.codes[level][children].long())
    if scores == "vocabulary":
        logits = logits - log_normalizer(model, hidden)[..., None]
        return children, logits.masked_fill(~exists, NEVER)
    logits = logits.masked_fill(~exists, NEVER)
    total = torch.logsumexp(logits, -1, keepdim=True)
    return children, torch.where(exists, logits - total, NEVER)


def beam_search(
    model,
    cache: EncoderCache,
    trie: Trie,
    k: int,
    filter: Filter | None,
    scores: str,
    width: int | None = None,
) -> Found:
    """The K best items per user by beam search with K (or ``width``) beams; the first step takes one decoder row per
    user.

    With trie-local scores a beam with a single item below it is settled: all further probabilities are 1, so
    it keeps its rank among the K but needs no decoder row. Open beams come before settled ones.
    """
    users, device = len(cache), cache.keys[0].device
    tries = TrieOnDevice.of(trie, device)
    widths = [min(width or k, trie.nodes(level)) for level in range(trie.depth)]
    settles = scores == "trie" and set(trie.leaf_levels[:-1]) == {"none"}
    decoder = TreeDecoder(model, cache, sum(widths))
    hidden: Tensor | None = decoder.start()
    nodes = torch.zeros(users, 1, dtype=torch.long, device=device)
    beam = torch.zeros(users, 1, device=device)
    found = Found(
        torch.full((users, k), NEVER, device=device),
        torch.zeros(users, k, dtype=torch.long, device=device),
        torch.full((users,), NEVER, device=device),
    )
    open_rows = 1
    for level in range(trie.depth):
        total, children, branch = beam[:, open_rows:], tries.only_child(level, nodes[:, open_rows:]), 0
        if hidden is not None:
            below, logp = child_scores(model, tries, level, hidden, nodes[:, :open_rows], filter, scores)
            branch = below.shape[-1]
            total = torch.cat([(beam[:, :open_rows, None] + logp).flatten(1), total], 1)
            children = torch.cat([below.flatten(1), children], 1)
        kind = trie.leaf_levels[level + 1]
        if kind != "none":
            total = _finish(found, tries, level + 1, total, children, kind)
        if level + 1 == trie.depth:
            break
        beams = widths[level + 1]
        best, candidate = total.topk(min(beams + 1, total.shape[1]), dim=1)
        if best.shape[1] > beams:
            found.bound = torch.maximum(found.bound, best[:, beams])
        beam, candidate = best[:, :beams], candidate[:, :beams]
        nodes = children.gather(1, candidate)
        rows = open_rows
        open_rows = beams
        if settles:
            is_open = tries.several_items(level + 1)[nodes] & (beam > NEVER)
            order = is_open.byte().argsort(dim=1, descending=True, stable=True)
            beam, candidate, nodes = (x.gather(1, order) for x in (beam, candidate, nodes))
            open_rows = int(is_open.sum(1).max())
        if not open_rows or hidden is None:
            hidden = None
            continue
        open_nodes = nodes[:, :open_rows]
        tokens = tries.tokens[level][tries.codes[level][open_nodes].long()]
        # a settled beam among the open rows of its batch may have no parent row: its output is not used
        parents = (candidate[:, :open_rows] // max(branch, 1)).clamp(max=rows - 1)
        hidden = decoder.step(tokens, parents)
    return found


def _finish(
    found: Found, tries: TrieOnDevice, level: int, total: Tensor, children: Tensor, kind: str
) -> Tensor:
    """Moves the leaves among the candidates into ``found``; returns the scores of the others."""
    k = found.scores.shape[1]
    if kind == "all":
        final, rest = total, total
    else:
        pointers = tries.first_child[level]
        assert pointers is not None
        leaf = pointers[children] == pointers[children + 1]
        final, rest = total.masked_fill(~leaf, NEVER), total.masked_fill(leaf, NEVER)
    best, candidate = final.topk(min(k, final.shape[1]), dim=1)
    scores = torch.cat([found.scores, best], 1)
    positions = torch.cat([found.positions, tries.positions(level, children.gather(1, candidate))], 1)
    found.scores, order = scores.topk(k, dim=1)
    found.positions = positions.gather(1, order)
    return rest

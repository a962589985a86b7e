"""Log-probabilities of given items: the candidates of each user form a tree whose shared prefixes run once.

Also the exact search, which scores the same trees over every prefix that could still lead to the top K.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from p5t5.decoding.beam import Filter, Found, TrieOnDevice, beam_search, child_scores
from p5t5.decoding.tree_decoder import NEVER, EncoderCache, TreeDecoder, log_normalizer, token_logits
from p5t5.decoding.trie import Trie

MAX_PATHS = 512  # paths per user in one tree: attention within a tree grows with its square
WIDER = (4, 16)  # times K: the beam widths tried before the exhaustive part of an exact search


@dataclass(frozen=True)
class PathTree:
    """The tree of M paths per user, down to a level: the row of each level that each path runs through.

    - ``row``: per level long [B, M]; ``tokens``/``parents``: per level from 1 on, long [B, W].
    - ``child_codes``: per level long [B, M], the next code on the path (0 where it has ended).
    - ``goes_on``: per level bool [B, M], whether the path has a token there.
    """

    row: list[np.ndarray]
    tokens: list[np.ndarray]
    parents: list[np.ndarray]
    child_codes: list[np.ndarray]
    goes_on: list[np.ndarray]

    @staticmethod
    def of(trie: Trie, positions: np.ndarray, levels: int) -> PathTree:
        """From int64 positions [B, M], ascending in each row; for ``levels`` levels of rows."""
        users, width = positions.shape
        tree = PathTree([np.zeros((users, width), np.int64)], [], [], [], [])
        lengths = trie.lengths[positions]
        user = np.arange(users)[:, None]
        for level in range(levels):
            node = np.maximum(trie.ancestors(positions, level + 1), 0)
            code = trie.codes[level][node].astype(np.int64)
            tree.goes_on.append(lengths > level)
            tree.child_codes.append(np.where(lengths > level, code, 0))
            if level + 1 == levels:
                break
            # one row for every node of level + 1 that is not a leaf; ended paths stay on the row before
            opens = (lengths > level + 1) & _first_in_run(np.where(lengths > level + 1, node, -1))
            row = np.maximum(np.cumsum(opens, 1) - 1, 0)
            rows = int(row.max(initial=0)) + 1
            tokens, parents = np.zeros((users, rows), np.int64), np.zeros((users, rows), np.int64)
            where = np.broadcast_to(user, row.shape)[opens], row[opens]
            tokens[where] = trie.level_tokens[level][code[opens]]
            parents[where] = tree.row[level][opens]
            tree.row.append(row)
            tree.tokens.append(tokens)
            tree.parents.append(parents)
        return tree

    @property
    def capacity(self) -> int:
        return 1 + sum(tokens.shape[1] for tokens in self.tokens)


def _first_in_run(nodes: np.ndarray) -> np.ndarray:
    """bool [B, M]: the first occurrence of each node ≥ 0; nodes ascend except for −1 in between."""
    highest = np.maximum.accumulate(nodes, 1)
    first = np.ones(nodes.shape, bool)
    first[:, 1:] = nodes[:, 1:] > highest[:, :-1]
    return first


def score_positions(model, cache: EncoderCache, trie: Trie, positions: np.ndarray) -> Tensor:
    """float32 [B, M]: log-probability of the item at each position (int64 [B, M], ascending in each row).

    Probabilities are over the whole vocabulary; ``</s>`` counts where the trie holds it.
    """
    chunk = _chunk(cache) if trie.depth > 1 else positions.shape[1]  # one level: one row, however many items
    if positions.shape[1] > chunk:
        chunks = [positions[:, start : start + chunk] for start in range(0, positions.shape[1], chunk)]
        return torch.cat(
            [score_positions(model, cache, trie, chunk_positions) for chunk_positions in chunks], 1
        )
    device = cache.keys[0].device
    tries = TrieOnDevice.of(trie, device)
    tree = PathTree.of(trie, positions, trie.depth)
    decoder = TreeDecoder(model, cache, tree.capacity)
    hidden = decoder.start()
    total = torch.zeros(positions.shape, device=device)
    for level in range(trie.depth):
        if level:
            tokens, parents = tree.tokens[level - 1], tree.parents[level - 1]
            hidden = decoder.step(torch.from_numpy(tokens).to(device), torch.from_numpy(parents).to(device))
        logits = token_logits(model, hidden, tries.columns[level])
        logp = (logits - log_normalizer(model, hidden)[..., None]).flatten(1)
        row, code = torch.from_numpy(tree.row[level]), torch.from_numpy(tree.child_codes[level])
        step_logp = logp.gather(1, (row * logits.shape[-1] + code).to(device))
        total += step_logp.where(torch.from_numpy(tree.goes_on[level]).to(device), 0.0)
    return total


def _chunk(cache: EncoderCache) -> int:
    """Paths per user in one tree, so that the mask of ancestors (users × heads × paths × rows, about three
    rows per path) has about 2²⁵ entries at most."""
    users, heads = cache.keys[0].shape[:2]
    return min(MAX_PATHS, max(32, int((2**25 / (3 * users * heads)) ** 0.5)))


def exact_search(
    model, cache: EncoderCache, trie: Trie, k: int, filter: Filter | None, scores: str, found: Found
) -> Found:
    """The proven K best of each user whose beam search was not certified.

    Wider beams come first: they certify most users, and raise the floor for the others. The floor is the K-th
    score found: every prefix of a true top-K item scores at least that. So in the end all
    prefixes above the floor are followed, level by level, however many there are.
    """
    for factor in WIDER:
        users = torch.nonzero(~found.certified)[:, 0]
        if not len(users):
            return found
        user_filter = None if filter is None else filter.users(users)
        wider = beam_search(model, cache.rows(users), trie, k, user_filter, scores, factor * k)
        found.scores[users], found.positions[users] = wider.scores, wider.positions
        found.bound[users] = wider.bound
    for user in torch.nonzero(~found.certified)[:, 0]:
        user_filter = None if filter is None else filter.users(user[None])
        floor = float(found.scores[user, -1])
        found.scores[user], found.positions[user] = _above(
            model, cache.rows(user[None]), trie, k, user_filter, scores, floor
        )
        found.bound[user] = NEVER
    return found


def _above(
    model, cache: EncoderCache, trie: Trie, k: int, filter: Filter | None, scores: str, floor: float
) -> tuple[Tensor, Tensor]:
    """(scores [k], positions [k]) of one user's best items, given that the k-th scores at least ``floor``."""
    device = cache.keys[0].device
    tries = TrieOnDevice.of(trie, device)
    floor -= (
        1e-5 * max(1.0, abs(floor)) if np.isfinite(floor) else 0.0
    )  # rounding differs between batch shapes
    nodes = torch.zeros(1, dtype=torch.long, device=device)
    beam = torch.zeros(1, device=device)
    best = torch.full((k,), NEVER, device=device)
    positions = torch.zeros(k, dtype=torch.long, device=device)
    for level in range(trie.depth):
        if not len(nodes):
            break
        next_nodes, next_beam = [], []
        for start in range(0, len(nodes), MAX_PATHS):
            chunk = nodes[start : start + MAX_PATHS]
            children, logp = _children_of(model, cache, trie, tries, level, chunk, filter, scores)
            total = (beam[start : start + MAX_PATHS, None] + logp).flatten()
            children = children.flatten()
            keep = (total >= floor) & (total > NEVER)
            next_nodes.append(children[keep])
            next_beam.append(total[keep])
        nodes, order = torch.cat(next_nodes).sort()
        beam = torch.cat(next_beam)[order]
        if trie.leaf_levels[level + 1] == "none":
            continue
        leaf = torch.ones_like(nodes, dtype=torch.bool)
        if trie.leaf_levels[level + 1] == "some":
            pointers = tries.first_child[level + 1]
            assert pointers is not None
            leaf = pointers[nodes] == pointers[nodes + 1]
        best, order = torch.cat([best, beam[leaf]]).topk(k)
        positions = torch.cat([positions, tries.positions(level + 1, nodes[leaf])])[order]
        nodes, beam = nodes[~leaf], beam[~leaf]
    return best, positions


def _children_of(
    model, cache: EncoderCache, trie: Trie, tries: TrieOnDevice, level: int, nodes: Tensor, filter, scores
):
    """(children long [W, C], log p float32 [W, C]) of ascending nodes of one level, for one user."""
    positions = trie.first_position[level][nodes.cpu().numpy()].astype(np.int64)[None]
    tree = PathTree.of(trie, positions, level + 1)
    decoder = TreeDecoder(model, cache, tree.capacity)
    hidden = decoder.start()
    for tokens, parents in zip(tree.tokens, tree.parents, strict=True):
        hidden = decoder.step(
            torch.from_numpy(tokens).to(nodes.device), torch.from_numpy(parents).to(nodes.device)
        )
    children, logp = child_scores(model, tries, level, hidden, nodes[None], filter, scores)
    return children[0], logp[0]

"""Rankings and scores from the model: ranked items, scored candidates, choices, expected ratings.

Inputs are torch tensors (ids and mask, [B, S]) or, for many prompts, Ragged token ids; results are
NumPy. The score of an item is the sum of log p(token) over its identifier, plus log p(</s>) where
the catalogue's identifiers differ in length; where all have the same length, </s> is certain and is not
scored unless ``score_eos=True``. There is no length penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.decoding.batches import padded_batches
from p5t5.decoding.beam import Filter, beam_search
from p5t5.decoding.t5_layers import inference
from p5t5.decoding.tree_decoder import encode_prompts
from p5t5.decoding.tree_scoring import exact_search, score_positions
from p5t5.decoding.trie import Trie

SCORES = ("vocabulary", "trie")


@dataclass(frozen=True)
class Ranked:
    """Items best first: ``items`` int64 [B, k] (−1 where fewer are allowed), ``scores`` float32 [B, k]
    (−inf there), ``certified`` bool [B]: provably the top k of all allowed items."""

    items: np.ndarray
    scores: np.ndarray
    certified: np.ndarray

    @staticmethod
    def stack(parts: Sequence[Ranked], order: np.ndarray) -> Ranked:
        """The rows of all parts, put back in order; ``order`` int [rows]: the row number of each."""
        inverse = np.argsort(order)
        fields = ([p.items for p in parts], [p.scores for p in parts], [p.certified for p in parts])
        return Ranked(*(np.concatenate(field)[inverse] for field in fields))


def rank_items(
    model,
    input_ids: Tensor,
    attention_mask: Tensor,
    trie: Trie,
    k: int,
    *,
    exclude: Ragged | None = None,
    allow: Ragged | np.ndarray | None = None,
    scores: str = "vocabulary",
    exact: bool = False,
    score_eos: bool | None = None,
) -> Ranked:
    """The best ``k`` items for each of B prompts, by trie beam search with k beams.

    - ``exclude``: Ragged of item numbers, one row per prompt; such items are never returned.
    - ``allow``: only these items: an array for all prompts, or a Ragged with one row per prompt.
    - ``scores``: "vocabulary" (log-softmax over the whole vocabulary before the constraint, as in
      `generate`), or "trie" (over allowed continuations only, as `renormalize_logits=True`).
    - ``exact``: where the beam's answer is not certified, search on until it is.

    Raises UserError for k < 1, unknown ``scores``, and rows that do not match the prompts.
    """
    if scores not in SCORES:
        raise UserError(f"scores={scores!r}: choose one of {', '.join(SCORES)}")
    if k < 1:
        raise UserError(f"k={k}: ask for at least one item")
    users = len(input_ids)
    for name, rows in (("exclude", exclude), ("allow", allow)):
        if isinstance(rows, Ragged) and len(rows) != users:
            raise UserError(f"{name} has {len(rows)} rows for {users} prompts")
    trie = trie if score_eos is None else trie.ended(score_eos)
    if allow is not None and not isinstance(allow, Ragged):
        trie, allow = trie.subset(np.asarray(allow)), None
    if not len(trie) or not users:
        empty = np.full((users, k), -1, np.int64)
        return Ranked(empty, np.full((users, k), -np.inf, np.float32), np.ones(users, bool))
    with inference(model):
        cache = encode_prompts(model, input_ids, attention_mask)
        filter = Filter.of(trie, exclude, allow, input_ids.device)
        found = beam_search(model, cache, trie, k, filter, scores)
        if exact:
            found = exact_search(model, cache, trie, k, filter, scores, found)
    best = found.scores.float().cpu().numpy()
    items = trie.item_of_position[found.positions.cpu().numpy()].astype(np.int64)
    return Ranked(np.where(np.isneginf(best), -1, items), best, found.certified.cpu().numpy())


def score_items(
    model,
    input_ids: Tensor,
    attention_mask: Tensor,
    trie: Trie,
    candidates: Ragged,
    *,
    score_eos: bool | None = None,
) -> Ragged:
    """float32 log-probability of each candidate item (row b of ``candidates`` for prompt b), aligned.

    Raises UserError for an item that the trie does not hold. An item may occur twice.
    """
    if len(candidates) != len(input_ids):
        raise UserError(f"candidates has {len(candidates)} rows for {len(input_ids)} prompts")
    trie = trie if score_eos is None else trie.ended(score_eos)
    if not len(candidates.values):
        return Ragged(np.zeros(0, np.float32), candidates.offsets)
    positions = Ragged(trie.positions(candidates.values), candidates.offsets)
    padded = positions.padded(0)
    real = np.arange(padded.shape[1]) < positions.lengths[:, None]
    padded = np.where(real, padded, padded.max(1, keepdims=True))  # padding adds no row to the tree
    order = np.argsort(padded, 1, kind="stable")
    with inference(model):
        cache = encode_prompts(model, input_ids, attention_mask)
        ordered = score_positions(model, cache, trie, np.take_along_axis(padded, order, 1)).cpu().numpy()
    table = np.empty_like(ordered)
    np.put_along_axis(table, order, ordered, 1)
    return Ragged(table[real], candidates.offsets)


def all_item_scores(
    model, input_ids: Tensor, attention_mask: Tensor, trie: Trie, *, score_eos: bool | None = None
) -> np.ndarray:
    """float32 [B, largest item number + 1]: every item's log-probability; −inf for numbers not in the trie."""
    trie = trie if score_eos is None else trie.ended(score_eos)
    table = np.full((len(input_ids), len(trie.position_of_item)), -np.inf, np.float32)
    with inference(model):
        cache = encode_prompts(model, input_ids, attention_mask)
        positions = np.broadcast_to(np.arange(len(trie)), (len(input_ids), len(trie)))
        table[:, trie.item_of_position] = score_positions(model, cache, trie, positions).cpu().numpy()
    return table


def score_choices(
    model, input_ids: Tensor, attention_mask: Tensor, choices: Sequence[Sequence[int]]
) -> np.ndarray:
    """float32 [B, C]: log-probability of each token sequence, with ``</s>`` (added where missing)."""
    eos = int(model.config.eos_token_id)
    rows = [tuple(choice) if len(choice) and choice[-1] == eos else (*choice, eos) for choice in choices]
    distinct = sorted(set(rows))
    tokens = Ragged.from_lists(distinct).padded(-1)
    trie = Trie.build(tokens, eos=eos, end=False)
    scores = all_item_scores(model, input_ids, attention_mask, trie)
    return scores[:, [distinct.index(row) for row in rows]]


def expected_value(log_probabilities: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float32 [B]: the mean of ``values`` [C] under the probabilities of the choices, normalized over them."""
    weights = np.exp(log_probabilities - log_probabilities.max(1, keepdims=True))
    return ((weights @ np.asarray(values, np.float64)) / weights.sum(1)).astype(np.float32)


def rank_all(
    model,
    inputs: Ragged,
    trie: Trie,
    k: int,
    *,
    exclude: Ragged | None = None,
    allow: Ragged | np.ndarray | None = None,
    token_budget: int = 4096,
    progress: Callable[[int], None] | None = None,
    **options,
) -> Ranked:
    """`rank_items` for any number of prompts, in length-sorted batches; results in input order.

    ``inputs``: Ragged token ids, with ``</s>``; ``progress``: called with the number of rows just done.
    """
    device = next(model.parameters()).device
    if allow is not None and not isinstance(allow, Ragged):
        trie, allow = trie.subset(np.asarray(allow)), None
    parts, done = [], []
    for rows, ids, mask in padded_batches(inputs, token_budget, device):
        own_exclude = None if exclude is None else exclude.take(rows)
        own_allow = None if allow is None else allow.take(rows)
        parts.append(rank_items(model, ids, mask, trie, k, exclude=own_exclude, allow=own_allow, **options))
        done.append(rows)
        if progress:
            progress(len(rows))
    if not parts:
        return Ranked(np.zeros((0, k), np.int64), np.zeros((0, k), np.float32), np.zeros(0, bool))
    return Ranked.stack(parts, np.concatenate(done))

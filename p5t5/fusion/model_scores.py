"""The model's side of a fusion: its log-probabilities over the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.baselines.base import Scorer, top_of
from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split
from p5t5.decoding.batches import padded_batches
from p5t5.decoding.ranking import all_item_scores
from p5t5.decoding.trie import Trie
from p5t5.fusion.blend import Fusion, default_parts, rows_at_once
from p5t5.fusion.fitting import FUSED_TASK, fit_fusion, validation_rows
from p5t5.text.mixture import single

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint


def model_table(model: Any, inputs: Ragged, trie: Trie, items: int, token_budget: int = 8192) -> np.ndarray:
    """float32 [prompts, items]: log-probability of every item; −inf for items that the trie does not hold."""
    table = np.full((len(inputs), items), -np.inf, np.float32)
    device = next(model.parameters()).device
    for rows, ids, mask in padded_batches(inputs, token_budget, device):
        scores = all_item_scores(model, ids, mask, trie)
        table[rows, : scores.shape[1]] = scores
    return table


def fit_for(
    checkpoint: Checkpoint,
    split: Split,
    parts: Sequence[Scorer] | None = None,
    *,
    limit: int | None = 10_000,
    seed: int = 0,
    token_budget: int = 8192,
    progress: Callable[[int], None] | None = None,
) -> Fusion:
    """The fusion of a checkpoint with ``parts`` (default: `default_parts`), fitted on validation rows.

    Each row is asked with one seen prompt, drawn by the seed. ``limit``: maximum number of rows, also drawn by the
    seed. Raises UserError for other data than the checkpoint was trained on.
    """
    checkpoint.check_same(split.data)
    rows = validation_rows(split, limit, seed)
    options = replace(checkpoint.build_options(-1), seed=seed)
    renderer, trie = checkpoint.renderer_for(split.data), checkpoint.catalogue.trie

    def table(part: np.ndarray) -> np.ndarray:
        examples, index = single(split, FUSED_TASK, checkpoint.prompts, "validation", options, "seen", part)
        inputs = renderer.encode_inputs(examples, index)
        if progress:
            progress(len(part))
        return model_table(checkpoint.model, inputs, trie, split.data.number_of_items, token_budget)

    return fit_fusion(default_parts(split) if parts is None else parts, split, table, rows=rows)


def rank(
    fusion: Fusion,
    model: Any,
    inputs: Ragged,
    trie: Trie,
    histories: Ragged,
    users: np.ndarray,
    k: int,
    *,
    exclude: Ragged | None = None,
    allow: np.ndarray | None = None,
    token_budget: int = 8192,
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray, list[list[dict[str, float]]]]:
    """The best k items int64 [n, k] (−1 where fewer are allowed), their scores float32 [n, k], and `Fusion.shares` of each.

    ``allow``: rank only these items. Scores are not probabilities: they compare within a row only.
    """
    items, best = np.full((len(inputs), k), -1, np.int64), np.full((len(inputs), k), -np.inf, np.float32)
    why: list[list[dict[str, float]]] = []
    step = rows_at_once(fusion.number_of_items)
    for start in range(0, len(inputs), step):
        positions = np.arange(start, min(start + step, len(inputs)))
        table = model_table(model, inputs.take(positions), trie, fusion.number_of_items, token_budget)
        past, user_numbers = histories.take(positions), users[positions]
        scores = fusion.scores(table, past, user_numbers)
        if allow is not None:
            scores[:, np.setdiff1d(np.arange(fusion.number_of_items), allow)] = -np.inf
        if exclude is not None:
            excluded = exclude.take(positions)
            scores[excluded.row_of_value, excluded.values] = -np.inf
        items[positions], best[positions] = top_of(scores, k)
        why += fusion.shares(table, past, user_numbers, items[positions])
        if progress:
            progress(len(positions))
    return items, best, why

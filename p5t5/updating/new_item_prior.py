"""Caps the probability of new items: taken together, no more than their share of the catalogue.

A token that starts among those of similar items looks as promising as they do although nobody has chosen it
yet, and being their mean, it fits their visitors better than any of them. Without a cap, a tenth more items
took two fifths of the probability and ranked above what training knew (docs/cold-start.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from p5t5.core.ragged import Ragged
from p5t5.core.randomness import generator
from p5t5.decoding.t5_layers import inference
from p5t5.decoding.tree_decoder import TreeDecoder, encode_prompts
from p5t5.tasks.base import ITEM, Column, Examples

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint

TASK = "sequential/next_item"
SYNTHETIC_HISTORIES, MAX_HISTORY, SIMILAR_ITEMS = (
    128,
    5,
    20,
)  # synthetic histories: their number, of up to 5 of the 20 most similar items
HALVINGS = 40


@torch.no_grad()
def cap_new_item_probability(checkpoint: Checkpoint, new: np.ndarray, seed: int) -> float:
    """Lowers the logits of ``new`` (bool [items], in the catalogue's order) after histories of known items, in place.

    All are lowered by the same amount on average, along the mean decoder state, until their mean total probability equals
    their share of the catalogue. Nothing changes where it is lower already, or where identifiers have several tokens.
    Returns the amount.
    """
    catalogue, model = checkpoint.catalogue, checkpoint.model
    prompt_indices = [
        index
        for index, prompt in enumerate(checkpoint.prompts)
        if prompt.task == TASK and set(prompt.slots) == {"history", "item"} and not prompt.held_out
    ]
    if catalogue.tokens.shape[1] != 1 or not prompt_indices or TASK not in checkpoint.info.tasks:
        return 0.0
    tokens = torch.from_numpy(catalogue.tokens[:, 0].astype(np.int64)).to(model.device)
    weight = model.lm_head.weight
    rows = weight[tokens].float()
    hidden = _first_states(
        checkpoint, histories(rows.cpu().numpy()[~new], np.flatnonzero(~new), seed), prompt_indices
    )
    mean = hidden.mean(0)
    direction = mean / (mean @ mean)
    projection = (hidden @ direction).double()
    is_new = torch.from_numpy(new).to(model.device)
    logits = hidden @ rows.T
    log_odds = (
        logits[:, is_new].logsumexp(1) - logits[:, ~is_new].logsumexp(1)
    ).double()  # log odds of a new item

    def probability(amount: float) -> float:
        return float((log_odds - amount * projection).sigmoid().mean())

    goal, low, high = float(new.mean()), 0.0, 1.0
    if probability(0.0) <= goal:
        return 0.0
    while probability(high) > goal and high < 1e3:
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if probability(middle) <= goal else (middle, high)
    weight[tokens[is_new]] = (rows[is_new] - high * direction).to(weight)
    return high


def histories(vectors: np.ndarray, items: np.ndarray, seed: int) -> Ragged:
    """Synthetic histories of ``items`` int [n] with similar ``vectors`` float [n, d], like those of people."""
    rng = generator(seed, 38)
    centred = vectors - vectors.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    number = min(SIMILAR_ITEMS, len(items))
    made = []
    for item in rng.integers(len(items), size=SYNTHETIC_HISTORIES).tolist():
        alike = np.argpartition(-(centred @ centred[item]), number - 1)[:number]
        made.append(items[rng.permutation(alike)[: rng.integers(1, MAX_HISTORY + 1)]].tolist())
    return Ragged.from_lists(made)


def _first_states(checkpoint: Checkpoint, histories: Ragged, prompt_indices: list[int]) -> torch.Tensor:
    """float32 [histories, d_model]: the decoder states that the head reads at the first step, with the prompts in turn."""
    columns = {"history": Column.listed(ITEM, histories).ended()}
    examples = Examples(TASK, np.zeros(len(histories), np.int64), columns, [])
    index = np.array(prompt_indices)[np.arange(len(histories)) % len(prompt_indices)]
    inputs = checkpoint.renderer.encode_inputs(examples, index)
    device = checkpoint.model.device
    ids = torch.from_numpy(inputs.padded(0).astype(np.int64)).to(device)
    mask = (torch.arange(ids.shape[1]) < torch.from_numpy(inputs.lengths)[:, None]).long().to(device)
    with inference(checkpoint.model):
        return (
            TreeDecoder(checkpoint.model, encode_prompts(checkpoint.model, ids, mask), 1)
            .start()[:, 0]
            .float()
        )

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
HISTORIES, LONGEST, ALIKE = 128, 5, 20  # made-up histories: so many, of up to 5 of the 20 items most alike
HALVINGS = 40


@torch.no_grad()
def cap_new_item_probability(checkpoint: Checkpoint, new: np.ndarray, seed: int) -> float:
    """Lowers the logits of ``new`` (bool [items], in the catalogue's order) after histories of known items; in place.

    All by the same amount on average, along the mean answer, until their mean probability is their share of the
    catalogue; where it is no more, or where items have names of several tokens, nothing changes. Returns the amount.
    """
    catalogue, model = checkpoint.catalogue, checkpoint.model
    places = [
        place
        for place, prompt in enumerate(checkpoint.prompts)
        if prompt.task == TASK and set(prompt.slots) == {"history", "item"} and not prompt.held_out
    ]
    if catalogue.tokens.shape[1] != 1 or not places or TASK not in checkpoint.info.tasks:
        return 0.0
    tokens = torch.from_numpy(catalogue.tokens[:, 0].astype(np.int64)).to(model.device)
    weight = model.lm_head.weight
    rows = weight[tokens].float()
    hidden = _answers(checkpoint, histories(rows.cpu().numpy()[~new], np.flatnonzero(~new), seed), places)
    mean = hidden.mean(0)
    direction = mean / (mean @ mean)
    along = (hidden @ direction).double()
    fresh = torch.from_numpy(new).to(model.device)
    logits = hidden @ rows.T
    ahead = (logits[:, fresh].logsumexp(1) - logits[:, ~fresh].logsumexp(1)).double()  # log odds of a new one

    def share(amount: float) -> float:
        return float((ahead - amount * along).sigmoid().mean())

    goal, low, high = float(new.mean()), 0.0, 1.0
    if share(0.0) <= goal:
        return 0.0
    while share(high) > goal and high < 1e3:
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if share(middle) <= goal else (middle, high)
    weight[tokens[fresh]] = (rows[fresh] - high * direction).to(weight)
    return high


def histories(vectors: np.ndarray, items: np.ndarray, seed: int) -> Ragged:
    """Made-up histories of ``items`` int [n] whose ``vectors`` float [n, d] are alike, as those of people are."""
    draw = generator(seed, 38)
    apart = vectors - vectors.mean(0)
    apart /= np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)
    number = min(ALIKE, len(items))
    found = []
    for place in draw.integers(len(items), size=HISTORIES).tolist():
        alike = np.argpartition(-(apart @ apart[place]), number - 1)[:number]
        found.append(items[draw.permutation(alike)[: draw.integers(1, LONGEST + 1)]].tolist())
    return Ragged.from_lists(found)


def _answers(checkpoint: Checkpoint, told: Ragged, places: list[int]) -> torch.Tensor:
    """float32 [histories, d_model]: the states that the head reads where the answer begins, wording by wording in turn."""
    columns = {"history": Column.listed(ITEM, told).ended()}
    examples = Examples(TASK, np.zeros(len(told), np.int64), columns, [])
    index = np.array(places)[np.arange(len(told)) % len(places)]
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

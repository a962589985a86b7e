"""Sampling from distributions over tokens, and the keyed random numbers behind it."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from p5t5.core.randomness import between_0_and_1, hashed, hashed_on

BLOCK = 64  # columns whose probabilities are summed before a column is drawn


class SampleNoise:
    """Random numbers determined by the seed, the prompt's tokens, the sample and the step, and so independent of the
    batch. One stream per batch would give every batch the same numbers, and many prompts similar answers."""

    def __init__(self, input_ids: Tensor, attention_mask: Tensor, samples: int, seed: int | None) -> None:
        seed = int(torch.randint(1 << 62, ())) if seed is None else seed
        prompts = [
            ids[real]
            for ids, real in zip(input_ids.cpu().numpy(), attention_mask.bool().cpu().numpy(), strict=True)
        ]
        names = [int.from_bytes(blake2b(ids.tobytes(), digest_size=7).digest(), "big") for ids in prompts]
        self.state = hashed(seed, np.array(names)[:, None], np.arange(samples)).reshape(-1)

    def at(self, step: int, rows: Tensor) -> Tensor:
        """float64 [rows, 1], uniform in 0 … 1, for this step."""
        drawn = hashed_on(self.state[rows.cpu().numpy()], step)
        return torch.from_numpy(between_0_and_1(drawn)[:, None]).to(rows.device)


def draw_columns(logits: Tensor, noise: Tensor, temperature: float, top_p: float = 1.0) -> Tensor:
    """long [rows]: one column per row, drawn with temperature and nucleus (the fewest columns whose probability reaches
    ``top_p``) by inverting the distribution at ``noise``, float64 [rows, 1] in 0 … 1. Changes ``logits`` in place.

    `torch.multinomial` takes 20 times as long for many rows. A block of BLOCK columns is drawn first, then the column
    in it: cumulative sums are slow, sums are not.
    """
    mass = logits.sub_(logits.amax(-1, keepdim=True)).mul_(1 / temperature).exp_()
    if top_p < 1.0:
        ranked, order = mass.sort(-1, descending=True)
        ranked[ranked.cumsum(-1) - ranked >= top_p * ranked.sum(-1, keepdim=True)] = 0.0
        mass = torch.zeros_like(mass).scatter_(1, order, ranked)
    whole = mass.shape[1] // BLOCK * BLOCK
    sums = [mass[:, :whole].unflatten(1, (-1, BLOCK)).sum(-1), mass[:, whole:].sum(-1, keepdim=True)]
    block, noise = _invert(torch.cat(sums, 1), noise)
    columns = block * BLOCK + torch.arange(BLOCK, device=mass.device)
    block_mass = mass.gather(1, columns.clamp(max=mass.shape[1] - 1)).masked_fill_(
        columns >= mass.shape[1], 0.0
    )
    return (block * BLOCK + _invert(block_mass, noise)[0])[:, 0]


def _invert(mass: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """long [rows, 1], the column of ``mass`` float [rows, columns] where ``noise`` falls, and how far into it, 0 … 1.

    Never a column of mass 0, whatever the rounding.
    """
    reached = mass.double().cumsum_(-1)
    total = reached[:, -1:].contiguous()
    target = noise * total
    column = torch.searchsorted(reached, target, right=True)
    column = torch.minimum(column, torch.searchsorted(reached, total))
    end, column_mass = reached.gather(1, column), mass.gather(1, column)
    return column, ((target - end + column_mass) / column_mass).clamp_(0, 1)

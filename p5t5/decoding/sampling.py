"""Sampling from distributions over tokens, and the keyed random numbers behind it."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from p5t5.core.randomness import between_0_and_1, hashed, hashed_on

BLOCK = 64  # columns whose probabilities are summed before one of them is drawn


class SampleNoise:
    """Random numbers that depend on the seed, the prompt's tokens, the sample and the step: on no other prompt, and so
    not on the batch. One stream a batch would give every batch the same ones, and many prompts like answers."""

    def __init__(self, input_ids: Tensor, attention_mask: Tensor, samples: int, seed: int | None) -> None:
        seed = int(torch.randint(1 << 62, ())) if seed is None else seed
        prompts = [
            ids[real]
            for ids, real in zip(input_ids.cpu().numpy(), attention_mask.bool().cpu().numpy(), strict=True)
        ]
        names = [int.from_bytes(blake2b(ids.tobytes(), digest_size=7).digest(), "big") for ids in prompts]
        self.state = hashed(seed, np.array(names)[:, None], np.arange(samples)).reshape(-1)

    def at(self, step: int, rows: Tensor) -> Tensor:
        """float64 [rows, 1] of 0 … 1: the step's."""
        drawn = hashed_on(self.state[rows.cpu().numpy()], step)
        return torch.from_numpy(between_0_and_1(drawn)[:, None]).to(rows.device)


def draw_columns(logits: Tensor, luck: Tensor, temperature: float, top_p: float = 1.0) -> Tensor:
    """One column a row by temperature and nucleus (the fewest whose probability reaches ``top_p``): the one that
    ``luck``, float64 [rows, 1] of 0 … 1, falls on. ``logits`` are changed.

    By the inverse of the distribution, `torch.multinomial` takes 20 times as long for many rows; first the block of
    BLOCK columns, then the column in it: cumulative sums are slow, sums are not.
    """
    mass = logits.sub_(logits.amax(-1, keepdim=True)).mul_(1 / temperature).exp_()
    if top_p < 1.0:
        ranked, order = mass.sort(-1, descending=True)
        ranked[ranked.cumsum(-1) - ranked >= top_p * ranked.sum(-1, keepdim=True)] = 0.0
        mass = torch.zeros_like(mass).scatter_(1, order, ranked)
    whole = mass.shape[1] // BLOCK * BLOCK
    sums = [mass[:, :whole].unflatten(1, (-1, BLOCK)).sum(-1), mass[:, whole:].sum(-1, keepdim=True)]
    block, luck = _fall(torch.cat(sums, 1), luck)
    columns = block * BLOCK + torch.arange(BLOCK, device=mass.device)
    own = mass.gather(1, columns.clamp(max=mass.shape[1] - 1)).masked_fill_(columns >= mass.shape[1], 0.0)
    return (block * BLOCK + _fall(own, luck)[0])[:, 0]


def _fall(mass: Tensor, luck: Tensor) -> tuple[Tensor, Tensor]:
    """(long [rows, 1] where ``luck`` falls among float [rows, places], how far into that place, 0 … 1).

    Never where there is nothing, whatever is rounded.
    """
    reached = mass.double().cumsum_(-1)
    total = reached[:, -1:].contiguous()
    aim = luck * total
    place = torch.searchsorted(reached, aim, right=True)
    place = torch.minimum(place, torch.searchsorted(reached, total))
    end, own = reached.gather(1, place), mass.gather(1, place)
    return place, ((aim - end + own) / own).clamp_(0, 1)

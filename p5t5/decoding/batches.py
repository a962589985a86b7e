"""Prompts of similar length, padded together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from p5t5.core.ragged import Ragged


def batches(lengths: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Row numbers in batches of similar length: longest × rows stays within the budget (one row at least)."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    parts, at = [], 0
    while at < len(order):
        width = max(int(lengths[order[at]]), 1)
        count = max(token_budget // width, 1)
        parts.append(order[at : at + count])
        at += count
    return parts


def padded_batches(
    inputs: Ragged, token_budget: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """(row numbers, input_ids, attention_mask) of each batch of many prompts."""
    for rows in batches(inputs.lengths, token_budget):
        part = inputs.take(rows)
        ids = torch.from_numpy(part.padded(0).astype(np.int64)).to(device)
        width = torch.arange(ids.shape[1], device=device)
        yield rows, ids, (width < torch.from_numpy(part.lengths).to(device)[:, None]).long()

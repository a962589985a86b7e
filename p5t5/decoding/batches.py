"""Prompts of similar length, padded together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from p5t5.core.ragged import Ragged


def batches(lengths: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Row numbers (int64) in batches of similar length: longest × rows is within the budget, with at least one row."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    chunks, start = [], 0
    while start < len(order):
        width = max(int(lengths[order[start]]), 1)
        count = max(token_budget // width, 1)
        chunks.append(order[start : start + count])
        start += count
    return chunks


def padded_batches(
    inputs: Ragged, token_budget: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """(row numbers int64 [B], input_ids and attention_mask long [B, S]) for each batch of many prompts."""
    for rows in batches(inputs.lengths, token_budget):
        chunk = inputs.take(rows)
        ids = torch.from_numpy(chunk.padded(0).astype(np.int64)).to(device)
        width = torch.arange(ids.shape[1], device=device)
        yield rows, ids, (width < torch.from_numpy(chunk.lengths).to(device)[:, None]).long()

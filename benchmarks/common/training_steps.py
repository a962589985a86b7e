"""What the cases of the training benchmark share: the batch size and rate, a step, and the loss of both sides."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from p5t5.core.encoded import Encoded
from p5t5.training.batching import collate

RATE = 7e-4  # ours, and the tuned peer's; Trainer's default is 5e-5
BUDGET = 2048
EVALUATED = 768


class Evaluation:
    """Some examples, and the loss of any T5 on them: nats a token, computed here for both sides."""

    def __init__(self, encoded: Encoded):
        chosen = np.random.default_rng(1).permutation(len(encoded))[:EVALUATED]
        chosen = chosen[np.argsort(encoded.targets.lengths[chosen])]
        self.batches = [collate(encoded, rows) for rows in np.array_split(chosen, max(len(chosen) // 16, 1))]

    @torch.no_grad()
    def loss(self, model) -> float:
        model.eval()
        total = tokens = 0.0
        for batch in self.batches:
            labels = batch["labels"]
            logits = model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels
            ).logits
            total += float(functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"))
            tokens += int((labels != -100).sum())
        model.train()
        return total / tokens

    def same_start(self, ours, theirs) -> list[float]:
        """Both losses before training; exits where they differ."""
        before = [self.loss(ours), self.loss(theirs)]
        if abs(before[0] - before[1]) > 1e-4 * before[0]:
            raise SystemExit(f"the losses differ before training: {before}")
        return before

    def after(self, ours, theirs) -> dict:
        """What a line tells of both losses at the end."""
        found = [self.loss(ours), self.loss(theirs)]
        ratio = found[0] / found[1]
        return {
            "loss_after": found,
            "loss_ratio": ratio,
            "loss_not_above_theirs_by_2_percent": ratio <= 1.02,
            "losses_within_2_percent": abs(ratio - 1) <= 0.02,
        }


def tokens_of(encoded: Encoded, rows: np.ndarray) -> int:
    return int((encoded.inputs.lengths + encoded.targets.lengths)[rows].sum())


def update(model, optimizer, batch, **more) -> None:
    model(**batch, **more).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()

"""The optimizer, and Accelerate as the options ask for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import nn

from p5t5.training.options import TrainOptions


def make_accelerator(options: TrainOptions, out: Path) -> Accelerator:
    """Accelerate as launched; ``--precision auto`` leaves the precision to its configuration as well."""
    return Accelerator(
        mixed_precision=None if options.precision == "auto" else options.precision,
        log_with=[name.strip() for name in options.trackers.split(",") if name.strip()] or None,
        project_dir=str(out),
        # The other processes wait while the main one validates.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
    )


def make_optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """AdamW. Embeddings (and so a tied head), position biases and norms are not decayed.

    Token embeddings may learn faster than the rest (``embedding_rate``): each occurs only now and then.
    """
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    tokens: list[nn.Parameter] = []
    for name, value in model.named_parameters():
        if value.requires_grad:
            if any(part in name for part in ("shared", "lm_head", "embed_tokens")):
                tokens.append(value)
            elif value.ndim < 2 or any(part in name for part in ("bias", "whole_words")):
                undecayed.append(value)
            else:
                decayed.append(value)
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
        {"params": tokens, "weight_decay": 0.0, "lr": options.learning_rate * options.embedding_rate},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, options.beta2), fused=True)

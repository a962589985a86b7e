"""LoRA through ``peft``: small matrices and the identifier tokens are trained, everything else is frozen.

New identifier tokens are untrained, and LoRA does not train the embedding: unless they are named they
stay random (users of LC-Rec and LETTER were bitten). peft's ``trainable_token_indices`` would wrap each of
T5's four uses of the table, copy the whole table at each use, and hide it from decoding. Here the table is
trained in place and the gradient of all other rows is zero: the same gradient (a test compares them), and
AdamW does not move a row whose gradient was always zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from p5t5.core.errors import UserError

TARGETS = ("q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo")  # all matrices of T5's blocks
SCALE = 2  # LoRA's alpha over its rank


class Adapters:
    """LoRA of some ``rank`` in all matrices of a T5, in place, with the embeddings of ``tokens`` trained too.

    Whole-word embeddings are also trained: they start at zero. ``merge`` turns it into an ordinary model.
    Raises UserError where peft is not installed or the rank is below 1.
    """

    def __init__(self, model: nn.Module, rank: int, tokens: Sequence[int], seed: int = 0):
        if rank < 1:
            raise UserError(f"--lora {rank}: the rank must be at least 1.")
        try:
            from peft import LoraConfig
            from peft.tuners.lora import LoraModel
        except ImportError as error:
            raise UserError("--lora needs the package peft: pip install 'p5t5[lora]'.") from error
        config = LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=list(TARGETS), lora_dropout=0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._tuner: Any = LoraModel(model, config, "default")  # freezes all other parameters
        self._hooks = [self._free(table, tokens) for table in _tables(model)]
        for name, value in model.named_parameters():
            if "whole_words" in name:
                value.requires_grad_(True)

    def merge(self) -> None:
        """Adds the trained matrices to those they adapt, and removes the adapters from the model."""
        config = self._tuner.model.config
        tied = config.tie_word_embeddings
        with warnings.catch_warnings():
            # peft takes an untied head for one that it has untied itself, and records that in the configuration.
            warnings.simplefilter("ignore", UserWarning)
            self._tuner.merge_and_unload()
        config.tie_word_embeddings = tied
        for hook in self._hooks:
            hook.remove()
        for value in self._tuner.model.parameters():
            value.requires_grad_(True)

    @staticmethod
    def _free(table: nn.Parameter, tokens: Sequence[int]) -> Any:
        """Trains these rows of the table and no others."""
        trained = torch.zeros(len(table), 1)
        trained[torch.as_tensor(tokens, dtype=torch.long)] = 1
        table.requires_grad_(True)
        return table.register_hook(lambda gradient: gradient * trained.to(gradient))


def _tables(model: nn.Module) -> list[nn.Parameter]:
    """The token embedding, and the head's matrix if it is not tied to it."""
    shared: Any = model.get_input_embeddings()  # type: ignore[operator]
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    return [shared.weight] if head.weight is shared.weight else [shared.weight, head.weight]

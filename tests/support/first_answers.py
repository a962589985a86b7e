"""What a checkpoint says first: for tests that a model is still the same."""

from __future__ import annotations

import numpy as np
import torch

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.text.mixture import single


def logits(checkpoint: Checkpoint, split) -> torch.Tensor:
    """What the model says to four questions of the split."""
    task = "sequential/next_item"
    examples, prompts = single(split, task, checkpoint.prompts, "test", checkpoint.build_options())
    inputs = checkpoint.renderer_for(split.data).encode_inputs(examples, prompts).take(np.arange(4)).padded(0)
    ids = torch.from_numpy(inputs.astype(np.int64))
    start = torch.zeros(4, 1, dtype=torch.long)
    with torch.no_grad():
        return checkpoint.model(
            input_ids=ids, attention_mask=(ids > 0).long(), decoder_input_ids=start
        ).logits

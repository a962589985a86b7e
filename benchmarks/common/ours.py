"""Our own models in the run of all peers (`quality.py`): asked alone and fused, in the seen and the held-out wordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common import curves
from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.evaluation.example_values import read_example_values, write_example_values
from p5t5.evaluation.results import Measured
from p5t5.fusion.blend import FUSION_FILE, STATE_FILE, Fusion
from p5t5.fusion.model_scores import fit_for

TASK = "sequential/next_item"
VALUES = ".values.parquet"
ANSWERING = 1  # bump it where the same folder would be asked or would answer differently than before
MODEL_FILES = ("p5t5.json", "prompts.yaml", "config.json", "generation_config.json", "tokenizer.json",
         "tokenizer_config.json", "catalogue.parquet", "users.parquet", "model.safetensors", FUSION_FILE, STATE_FILE)  # fmt: skip


def answers(
    folders: Sequence[str], split: Split, asked: dict[str, Any], out: Path
) -> Iterator[tuple[list[Measured], dict[str, Any]]]:
    """What each model answered, and about it; kept beside OUT, so that a model is asked once.

    ``asked``: hash, part, scheme, limit. UserError for models of other data or another split.
    """
    for folder in map(Path, folders):
        checkpoint = Checkpoint.load(folder)
        checkpoint.check_same(split.data)
        if checkpoint.info.split != split.scheme:
            raise UserError(f"{folder} was trained on the split {checkpoint.info.split}, not {split.scheme}.")
        fusion = fused(folder, checkpoint, split)
        about = {
            **asked,
            "source": str(folder),
            "digest": digest(folder),
            "seed": int(checkpoint.info.options.seed),
            "seconds": round(curves.seconds_of(checkpoint.info.stages), 1),
            "parameters": sum(value.numel() for value in checkpoint.model.parameters()),
        }
        path = out.with_suffix(f".{folder.resolve().name}.{about['digest']}{VALUES}")
        if path.is_file():
            measured, before = read_example_values(path)
            if before == about:
                yield measured, about
                continue
        found = evaluate_checkpoint(
            checkpoint,
            split,
            [TASK],
            asked["part"],
            limit=asked["limit"],
            fusion=fusion,
            samples=0,
        )
        write_example_values(path, found.measured, about)
        yield found.measured, about


def fused(folder: Path, checkpoint: Checkpoint, split: Split) -> Fusion:
    """The fusion beside the model, or a new one that is saved there."""
    if (folder / FUSION_FILE).is_file():
        fusion = Fusion.load(folder)
        fusion.check(split.data.hash)
        return fusion
    fusion = fit_for(checkpoint, split)
    fusion.save(folder)
    return fusion


def digest(folder: Path) -> str:
    """Of all that the model answers by: trained anew, or asked in other words, it is another one."""
    present = [folder / name for name in MODEL_FILES if (folder / name).is_file()]
    found = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in present]
    return hashlib.sha256(json.dumps([ANSWERING, found]).encode()).hexdigest()[:16]

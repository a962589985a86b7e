"""Our own models in the run of all peers (`quality.py`): asked alone and fused, in the seen and the held-out wordings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from p5t5.checkpoint import Checkpoint
from p5t5.errors import UserError
from p5t5.evaluation import evaluate_checkpoint
from p5t5.fusion import FILE, STATE, Fusion
from p5t5.fusion.model import fit_for
from p5t5.results import Measured
from p5t5.splits import Split
from p5t5.values import read_values, write_values

TASK = "sequential/next_item"
VALUES = ".values.parquet"


def answers(
    folders: Sequence[str], split: Split, asked: dict[str, Any], out: Path
) -> Iterator[tuple[list[Measured], dict[str, Any]]]:
    """What each model answered, and about it; kept beside OUT, so that a model is asked once.

    ``asked``: hash, part, scheme, limit. UserError for models of other data or another split.
    """
    for folder in map(Path, folders):
        checkpoint = Checkpoint.load(folder)
        checkpoint.check_same(split.data)
        if checkpoint.info["split"] != split.scheme:
            raise UserError(
                f"{folder} was trained on the split {checkpoint.info['split']}, not {split.scheme}."
            )
        fusion = fused(folder, checkpoint, split)
        about = {
            **asked,
            "source": str(folder),
            "digest": digest(folder),
            "seed": int(checkpoint.info["options"]["seed"]),
            "seconds": round(sum(stage.get("seconds") or 0 for stage in checkpoint.info["stages"]), 1),
            "parameters": sum(value.numel() for value in checkpoint.model.parameters()),
        }
        path = out.with_suffix(f".{folder.resolve().name}{VALUES}")
        if path.is_file():
            measured, before = read_values(path)
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
        write_values(path, found.measured, about)
        yield found.measured, about


def fused(folder: Path, checkpoint: Checkpoint, split: Split) -> Fusion:
    """The fusion beside the model, or a new one that is saved there."""
    if (folder / FILE).is_file():
        fusion = Fusion.load(folder)
        fusion.check(split.data.hash)
        return fusion
    fusion = fit_for(checkpoint, split)
    fusion.save(folder)
    return fusion


def digest(folder: Path) -> str:
    """Of the weights and the fusion: a model trained anew under the same name is another one."""
    found = hashlib.sha256()
    for name in ("model.safetensors", STATE):
        found.update((folder / name).read_bytes())
    return found.hexdigest()[:16]

"""How much memory training takes, whether it grows from epoch to epoch, and what a large data set needs.

nice python benchmarks/memory.py --data runs/beauty                 an epoch rendered in full, a slice trained on
nice python benchmarks/memory.py --case large                       20 million simulated interactions; 6 GiB of disk

Prints a JSON line for each case: finetune_peak, the most memory of the process at any time, in MiB; finetune_flatness,
the peak of the last epoch over that of the middle one (1: flat); large_peak, the most memory over all stages:
the data folder written, read and split, the model made, its soft targets, the epoch rendered, planned, and a few steps trained.
Pages of mapped files count while they are resident, though the system may drop them at any time; ``own`` leaves
them out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.options import rates
from p5t5.data.records.loading import load
from p5t5.data.records.tables import Records
from p5t5.data.splits import split_by
from p5t5.distillation.soft_targets import make_soft_targets
from p5t5.evaluation.validation import validation_metric
from p5t5.text.mixture import make_mixture
from p5t5.text.prompts import load_prompts
from p5t5.text.rendering import render_mixture
from p5t5.training.loop import train
from p5t5.training.options import TrainOptions
from p5t5.workflows.finetune import FinetuneOptions

LARGE_ITEMS = 50_000


def memory(field: str) -> float:
    """MiB, from /proc: VmRSS now, RssAnon of it not in files, VmHWM the most since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def finetune(arguments: argparse.Namespace) -> Iterator[tuple[str, float, dict]]:
    marks = {"imports": memory("VmRSS")}
    split = split_by("loo", load(arguments.data))
    marks["data"] = memory("VmRSS")
    checkpoint = create_checkpoint(split, load_prompts(), model=arguments.model)
    mixture, _ = make_mixture(split, checkpoint.prompts, None, checkpoint.build_options(), 0, None)
    renderer = checkpoint.renderer_for(split.data)
    validate = validation_metric(checkpoint, split, mixture.tasks, limit=1000)
    marks["model"] = memory("VmRSS")
    before, peaks, ends, sizes = memory("VmHWM"), [], [], []
    forget_peak()

    def source(epoch: int):
        if epoch:
            peaks.append(memory("VmHWM"))
            ends.append(memory("RssAnon"))
            forget_peak()
        encoded = render_mixture(renderer, mixture, epoch)
        sizes.append(len(encoded))
        return encoded.take(range(min(arguments.trained, len(encoded))))

    with tempfile.TemporaryDirectory() as out:
        train(
            checkpoint.model,
            source,
            TrainOptions(epochs=arguments.epochs, evaluations=2, checkpoint_every=20),
            out,
            validate,
        )
    peaks.append(memory("VmHWM"))
    ends.append(memory("RssAnon"))
    detail = {
        "data": split.data.name,
        "interactions": len(split.data),
        "examples_an_epoch": sizes[0],
        "model": arguments.model,
        "before_training_mib": round(before),
        "resident_after_mib": {name: round(value) for name, value in marks.items()},
        "peak_of_each_epoch_mib": [round(peak) for peak in peaks],
        "own_after_each_epoch_mib": [round(end) for end in ends],
    }
    yield "finetune_peak", round(max([before, *peaks]), 1), detail
    # Two epochs hold a validation, the one in which half of the training is done and the last: like with like.
    yield (
        "finetune_flatness",
        round(peaks[-1] / peaks[(len(peaks) - 1) // 2], 4),
        {"epochs": arguments.epochs},
    )


def large(arguments: argparse.Namespace) -> Iterator[tuple[str, float, dict]]:
    """``prepare``'s writer, then what ``finetune`` does until some steps are made."""
    stages: dict[str, dict] = {}
    began = time.monotonic()

    def done(stage: str) -> None:
        nonlocal began
        stages[stage] = {
            "peak_mib": round(memory("VmHWM")),
            "own_after_mib": round(memory("RssAnon")),
            "seconds": round(time.monotonic() - began, 1),
        }
        forget_peak()
        began = time.monotonic()

    done("imports")
    with tempfile.TemporaryDirectory() as folder:
        large_shop(arguments.interactions).write(folder)
        done("written")
        split = split_by("loo", load(folder))
        done("read and split")
        # A million user tokens and the factors of a large shop are other questions: neither is asked here.
        made = create_checkpoint(
            split,
            load_prompts(),
            model=arguments.model,
            user_identifiers="none",
            start_from_factors=False,
        )
        mixture, _ = make_mixture(split, made.prompts, None, made.build_options(), 0, None)
        renderer = made.renderer_for(split.data)
        done("model made")
        alphas = rates(FinetuneOptions().soft_targets, "--soft_targets") or {}
        asked = {task: share for task, share in alphas.items() if task in mixture.tasks}
        distilled, without = make_soft_targets(made, split, asked)
        assert distilled is not None, without
        done("soft_targets")

        def source(epoch: int):
            encoded = render_mixture(renderer, mixture, epoch, distilled)
            done("epoch rendered")
            return encoded

        options = TrainOptions(max_steps=arguments.steps, checkpoint_every=0)
        train(made.model, source, options, Path(folder) / "out")
        done("planned and started")
    detail = {
        "interactions": arguments.interactions,
        "items": LARGE_ITEMS,
        "examples_an_epoch": mixture.size,
        "soft_targets": len(distilled.soft_targets.tokens),
        "model": arguments.model,
        "steps": arguments.steps,
        "stages": stages,
    }
    yield "large_peak", max(stage["peak_mib"] for stage in stages.values()), detail


def large_shop(interactions: int) -> Records:
    """Users with 20 interactions each, items by popularity, ratings and times: no more than the size matters."""
    rng = np.random.default_rng(0)
    users = max(interactions // 20, 3)
    user = np.arange(interactions, dtype=np.int32) % users
    user.sort()
    item = (LARGE_ITEMS * rng.random(interactions) ** 2).astype(np.int32)
    ids = [f"B{number:06d}" for number in range(LARGE_ITEMS)]
    table = pd.DataFrame(
        {
            "user_id": pd.Categorical.from_codes(user, [f"U{number:08d}" for number in range(users)]),
            "item_id": pd.Categorical.from_codes(item, ids),
            "rating": rng.integers(1, 6, interactions).astype(np.float32),
            "timestamp": 1_300_000_000 + 3600 * np.arange(interactions),
        }
    )
    return Records("large", table, pd.DataFrame({"item_id": ids}))


CASES = {"finetune": finetune, "large": large}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=list(CASES), default="finetune")
    parser.add_argument("--data", help="data folder; for finetune")
    parser.add_argument("--model", default="tiny", help="preset")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--trained", type=int, default=800, help="examples of an epoch to train on")
    parser.add_argument("--interactions", type=int, default=20_000_000, help="of the large shop")
    parser.add_argument("--steps", type=int, default=3, help="with the large shop")
    arguments = parser.parse_args()
    if arguments.case == "finetune" and arguments.data is None:
        parser.error("--data is needed")
    for name, value, detail in CASES[arguments.case](arguments):
        print(json.dumps({"case": name, "value": value, "detail": detail}), flush=True)


if __name__ == "__main__":
    main()

"""How much memory fine-tuning takes, and whether it grows from epoch to epoch.

nice python benchmarks/memory.py --data runs/beauty

Every epoch is rendered in full, as `p5t5 finetune` does it; to be quick, a slice of it is trained on. Prints a
JSON line for each case: finetune_peak, the most memory of the process at any time, in MiB; finetune_flatness,
the peak of the last epoch over that of the second (1: flat).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from p5t5.checkpoint import Checkpoint
from p5t5.mixture import make_mixture
from p5t5.prompts import load_prompts
from p5t5.records import load
from p5t5.rendering import render_mixture
from p5t5.splits import split_by
from p5t5.training.loop import train
from p5t5.training.schedule import TrainOptions
from p5t5.validation import validation_metric


def memory(field: str) -> float:
    """MiB, from /proc: VmRSS now, VmHWM the most since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--model", default="tiny", help="preset")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--trained", type=int, default=800, help="examples of an epoch to train on")
    arguments = parser.parse_args()
    marks = {"imports": memory("VmRSS")}
    split = split_by("loo", load(arguments.data))
    marks["data"] = memory("VmRSS")
    checkpoint = Checkpoint.create(split, load_prompts(), model=arguments.model)
    mixture, _ = make_mixture(split, checkpoint.prompts, None, checkpoint.build_options(), 0, None)
    renderer = checkpoint.renderer_for(split.data)
    validate = validation_metric(checkpoint, split, mixture.tasks, limit=1000)
    marks["model"] = memory("VmRSS")
    before, peaks, sizes = memory("VmHWM"), [], []
    forget_peak()

    def source(epoch: int):
        if epoch:
            peaks.append(memory("VmHWM"))
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
    detail = {
        "data": split.data.name,
        "interactions": len(split.data),
        "examples_an_epoch": sizes[0],
        "model": arguments.model,
        "before_training_mib": round(before),
        "resident_after_mib": {name: round(value) for name, value in marks.items()},
        "peak_of_each_epoch_mib": [round(peak) for peak in peaks],
    }
    print(json.dumps({"case": "finetune_peak", "value": round(max([before, *peaks]), 1), "detail": detail}))
    growth = peaks[-1] / peaks[1]
    print(
        json.dumps(
            {"case": "finetune_flatness", "value": round(growth, 4), "detail": {"epochs": arguments.epochs}}
        )
    )


if __name__ == "__main__":
    main()

"""What each preset reaches on validation rows in some minutes of training from scratch: by the defaults of
`p5t5 finetune`, which know nothing of the data set but its shape, or by a recipe.

python benchmarks/ten_minutes.py --data runs/ml-100k/data --out results/ten-minutes.jsonl
python benchmarks/ten_minutes.py --data runs/ml-100k/data --recipe configs/recipes/ml-100k.yaml --out results/ten-minutes.jsonl
python benchmarks/ten_minutes.py … --models tiny --optimizers adamw scaled:2e-2 adafactor:1e-2     equal minutes each

A run is a line, printed and added to --out when it is done: {"case", "value", "detail"}; the value is NDCG@10 of
`next_item` (filtered), and the detail has it again, with RMSE where there are ratings, parameters, steps and tokens a
second. What --out has already is not run again, so a stopped table goes on with the same command. The minutes
are those of `--max_minutes`: training and its validations; reading the data and making the model come before, and so
do soft targets and starting vectors, whose seconds are in the detail's `seconds` and in the times of `curve`.
An optimiser is NAME or NAME:RATE. adamw is ours, at the recipe's rate; scaled is AdamW with its steps times each
matrix's root mean square (nanoT5, arXiv 2309.02373); adafactor is torch's, which does the same and keeps no second
moments of matrices. None of the three was chosen on test rows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import curves

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.cli.main import main as p5t5
from p5t5.data.records.loading import load
from p5t5.data.splits import split_by
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.evaluation.results import find
from p5t5.training import weights

RATES = {"adamw": None, "scaled": 2e-2, "adafactor": 1e-2}  # None: the recipe's, or the default
MEASURED = (("sequential/next_item", "filtered", "ndcg@10"), ("rating/score", "expected", "rmse"))


@contextmanager
def optimized_by(name: str, rate: float | None) -> Iterator[list[str]]:
    """Options of the command under which it trains with that optimiser."""
    if name == "adamw":
        yield [] if rate is None else ["--learning_rate", str(rate)]
        return

    def make(model: torch.nn.Module, options: Any) -> torch.optim.Optimizer:
        trained = [value for value in model.parameters() if value.requires_grad]
        if name == "adafactor":
            return torch.optim.Adafactor(trained, lr=rate)
        from common.training_peers import ScaledAdamW

        return ScaledAdamW(trained, lr=rate)

    with mock.patch.object(weights, "make_optimizer", make):
        yield []


def run(wanted: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and asks; what was found."""
    with tempfile.TemporaryDirectory() as folder, optimized_by(wanted["optimizer"], wanted["rate"]) as chosen:
        own = "-".join(str(wanted[name]) for name in ("data", "model", "optimizer", "seed"))
        out = (arguments.keep or Path(folder)) / own
        shared = ["--data", arguments.data, "--model", wanted["model"]]
        if arguments.recipe:
            shared += ["--config", arguments.recipe]
        limits = ["--max_minutes", str(wanted["minutes"]), "--seed", str(wanted["seed"])]
        if p5t5(["finetune", *shared, *limits, *chosen, "--out", str(out)]) != 0:
            raise SystemExit("the training failed")
        checkpoint = Checkpoint.load(out)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    split = split_by(checkpoint.info.split, load(arguments.data))
    asked = [task for task, _, _ in MEASURED if task in checkpoint.info.tasks]
    rows = evaluate_checkpoint(
        checkpoint,
        split,
        asked,
        "validation",
        ("seen",),
        limit=arguments.asked or None,
        progress=False,
        samples=0,
    ).rows
    found: dict[str, Any] = {}
    for task, protocol, metric in MEASURED:
        row = find(rows, task=task, protocol=protocol, metric=metric)
        if row is not None:
            found |= {metric: row["value"], f"{metric} ci95": row["ci95"], f"{metric} n": row["n"]}
    speeds = sorted(line["tokens_per_second"] for line in lines if "tokens_per_second" in line)
    stage = checkpoint.info.stages[-1]
    prepared = stage.get("prepared_seconds", 0.0)
    return {
        **found,
        "parameters": sum(value.numel() for value in checkpoint.model.parameters()),
        "steps": stage["steps"],
        "seconds": round(curves.seconds_of([stage]), 1),
        "prepared_seconds": prepared,
        "best_step": stage["best"] and stage["best"]["step"],
        "tokens_per_second": speeds[len(speeds) // 2] if speeds else None,
        "curve": [[prepared + line["elapsed"], line["validation"]] for line in lines if "validation" in line],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--recipe", default="", help="YAML of finetune's options; the defaults without")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each run")
    parser.add_argument("--models", nargs="+", default=["tiny", "mini", "small"], help="presets")
    parser.add_argument("--optimizers", nargs="+", default=["adamw"], help="NAME or NAME:RATE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--asked", type=int, default=3000, help="validation rows at the end; 0: all")
    parser.add_argument("--keep", type=Path, help="folder that the models stay in")
    parser.add_argument("--out", required=True, help="JSON lines; what it has is not run again")
    arguments = parser.parse_args()
    for words in arguments.optimizers:
        if words.partition(":")[0] not in RATES:
            parser.error(f"no optimiser {words!r}; there are {', '.join(RATES)}")
    out, name = Path(arguments.out), load(arguments.data).name
    known = [json.loads(line)["detail"] for line in out.read_text().splitlines()] if out.is_file() else []
    for seed in arguments.seeds:
        for model in arguments.models:
            for words in arguments.optimizers:
                optimizer, _, rate = words.partition(":")
                wanted = {
                    "data": name,
                    "model": model,
                    "optimizer": optimizer,
                    "rate": float(rate) if rate else RATES[optimizer],
                    "minutes": arguments.minutes,
                    "seed": seed,
                    "recipe": Path(arguments.recipe).name,
                    "asked": arguments.asked,
                    "threads": torch.get_num_threads(),
                }
                if any(wanted.items() <= before.items() for before in known):
                    continue
                found = run(wanted, arguments)
                case = f"{name} {model} {words}, {arguments.minutes:g} minutes, seed {seed}"
                line = json.dumps({"case": case, "value": found.get("ndcg@10"), "detail": wanted | found})
                print(line, flush=True)
                with out.open("a") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()

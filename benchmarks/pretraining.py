"""Does pretraining pay? The same fine-tuning with and without the masked-span stage, in equal total time.

python benchmarks/pretraining.py --data runs/quickstart/data --minutes 3 --seeds 0 1 2 --out results/ml-100k-pretraining.json

Prints one JSON line for each metric: the mean over seeds of (with − without) on validation rows, with a
paired bootstrap over users. The rows of all runs go to --out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.cli.main import main as p5t5
from p5t5.data.records.loading import load
from p5t5.data.splits import split_by
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.evaluation.results import STATISTICS, write_rows
from p5t5.metrics.intervals import first_mean, paired_bootstrap

RECIPES = Path(__file__).resolve().parent.parent / "configs" / "recipes"
MEASURED = (("sequential/next_item", "filtered", "ndcg@10"), ("rating/score", "expected", "rmse"))


def train(arguments, seed: int, share: float, folder: Path) -> Path:
    """A model that spent ``share`` of the minutes on pretraining and the rest on fine-tuning."""
    shared = ["--data", arguments.data, "--seed", str(seed)]
    start, model = [], folder / "model"
    if share:
        pretrained = folder / "pretrained"
        minutes = ["--max_minutes", str(arguments.minutes * share)]
        recipe = ["--config", str(RECIPES / "ml-100k-pretrain.yaml")]
        assert p5t5(["pretrain", *recipe, *shared, *minutes, "--out", str(pretrained)]) == 0
        start = ["--model", str(pretrained)]
    minutes = ["--max_minutes", str(arguments.minutes * (1 - share))]
    recipe = ["--config", str(RECIPES / "ml-100k.yaml")]
    assert p5t5(["finetune", *recipe, *shared, *start, *minutes, "--out", str(model)]) == 0
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--minutes", type=float, default=3.0, help="training time of each run, both stages")
    parser.add_argument("--share", type=float, default=0.25, help="share of it that pretraining gets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", required=True, help="JSON file for the result rows")
    arguments = parser.parse_args()
    rows: list[dict] = []
    values: dict[tuple, list] = {}
    users = None
    for seed in arguments.seeds:
        for variant, share in (("with_pretraining", arguments.share), ("without_pretraining", 0.0)):
            with tempfile.TemporaryDirectory() as folder:
                checkpoint = Checkpoint.load(train(arguments, seed, share, Path(folder)))
                split = split_by(checkpoint.info.split, load(arguments.data))
                tasks = [task for task, _, _ in MEASURED]
                found = evaluate_checkpoint(
                    checkpoint,
                    split,
                    tasks,
                    "validation",
                    ("seen",),
                    variant=variant,
                    progress=False,
                    samples=0,
                )
            for row in found.rows:
                rows.append({**row, "seed": seed, "aggregate": "seed"})
            for measured in found.measured:
                users = measured.users
                for metric, per_row in measured.values.items():
                    values.setdefault((measured.task, measured.protocol, metric, variant), []).append(per_row)
            write_rows(arguments.out, rows)
    for task, protocol, metric in MEASURED:
        with_it, without = (
            np.mean(values[task, protocol, metric, variant], axis=0)
            for variant in ("with_pretraining", "without_pretraining")
        )
        statistic = STATISTICS.get(metric, first_mean)
        difference, low, high = paired_bootstrap(with_it, without, 0, users=users, statistic=statistic)
        case = f"{task} {metric}"
        detail = {"ci95": [low, high], "seeds": len(arguments.seeds), "minutes": arguments.minutes}
        print(json.dumps({"case": case, "value": difference, "detail": detail}), flush=True)


if __name__ == "__main__":
    main()

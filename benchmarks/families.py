"""Do all five families learn? A tiny model on simulated data whose best possible scores are known.

python benchmarks/families.py --minutes 10 --out results/simulated.json

Prints one JSON line for each task: how far the model goes from the best constant answer (0) to the
optimum of the generating process (1), on the same test rows. The rows go to --out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.cli.main import main as p5t5
from p5t5.data.sources.simulated import Simulated, simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.evaluation.results import find, write_rows
from p5t5.tasks.registry import TASKS

RECIPES = Path(__file__).resolve().parent.parent / "configs" / "recipes"
# The question that each family is judged by, and its main metric. The direct family is asked with the
# history given: without it nobody can know what the process depends on.
JUDGED = (
    ("rating/score", "expected", "rmse"),
    ("sequential/next_item", "filtered", "ndcg@10"),
    ("explanation/explain", "text", "rouge1"),
    ("explanation/explain_feature", "text", "rouge1"),
    ("review/headline", "text", "rouge1"),
    ("review/score", "expected", "rmse"),
    ("direct/choose", "1+99 history", "ndcg@10"),
)


def train(simulated: Simulated, arguments: argparse.Namespace, folder: Path) -> Checkpoint:
    """A tiny model, pretrained and fine-tuned in the given minutes by the shipped recipes."""
    simulated.records.write(folder / "data")
    shared = ["--data", str(folder / "data"), "--seed", str(arguments.seed)]
    minutes = arguments.minutes * arguments.share, arguments.minutes * (1 - arguments.share)
    recipe = ["--config", str(RECIPES / "simulated-pretrain.yaml"), "--max_minutes", str(minutes[0])]
    assert p5t5(["pretrain", *recipe, *shared, "--out", str(folder / "pretrained")]) == 0
    recipe = ["--config", str(RECIPES / "simulated.yaml"), "--max_minutes", str(minutes[1])]
    start = ["--model", str(folder / "pretrained"), "--out", str(folder / "model")]
    assert p5t5(["finetune", *recipe, *shared, *start]) == 0
    return Checkpoint.load(folder / "model")


def ways(simulated: Simulated, checkpoint: Checkpoint, split: Split, rows: list[dict], measured) -> Iterator:
    """(case, share of the way from constant to optimum, detail) for each of JUDGED."""
    for task, protocol, metric in JUDGED:
        asked = next(part.rows for part in measured if (part.task, part.protocol) == (task, protocol))
        options = replace(checkpoint.build_options(-1), seed=rows[0]["seed"])
        candidates = TASKS[task].build(split, asked, options).candidates
        case = f"{task} {metric}"
        best = simulated.best(asked, candidates)[case]
        constant = simulated.best_constant(split, asked, candidates)[case]
        row = find(rows, task=task, protocol=protocol, metric=metric)
        assert row is not None
        way = (row["value"] - constant) / (best - constant)
        yield case, way, {"ours": row["value"], "constant": constant, "optimum": best, "n": len(asked)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="training time")
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--asked", type=int, default=1000, help="test users that are asked, drawn by seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.1, help="share of the time that pretraining gets")
    parser.add_argument("--out", required=True, help="JSON file for the result rows")
    arguments = parser.parse_args()
    simulated = simulate(users=arguments.users, seed=arguments.seed)
    split = leave_one_out(simulated.data)
    with tempfile.TemporaryDirectory() as name:
        checkpoint = train(simulated, arguments, Path(name))
    found = evaluate_checkpoint(
        checkpoint,
        split,
        [task for task, _, _ in JUDGED],
        prompts=("seen",),
        protocols=("filtered",),
        limit=arguments.asked,
        seed=arguments.seed,
        progress=False,
    )
    write_rows(arguments.out, found.rows)
    for case, way, detail in ways(simulated, checkpoint, split, found.rows, found.measured):
        print(json.dumps({"case": case, "value": round(way, 3), "detail": detail}), flush=True)


if __name__ == "__main__":
    main()

"""Do all five families learn? A tiny model on simulated data whose best possible scores are known.

python benchmarks/families.py --minutes 8 --out results/simulated.json

Prints one JSON line for each task: how far the model goes from the best constant answer (0) to the
optimum of the generating process (1). The rows go to --out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from p5t5.checkpoint import Checkpoint
from p5t5.commands.cli import main as p5t5
from p5t5.evaluation import evaluate_checkpoint
from p5t5.results import write_rows
from p5t5.sources.simulated import simulate
from p5t5.splits import leave_one_out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="training time")
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.2, help="share of the time that pretraining gets")
    parser.add_argument("--out", required=True, help="JSON file for the result rows")
    arguments = parser.parse_args()
    simulated = simulate(users=arguments.users, seed=arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated.records.write(folder / "data")
        shared = ["--data", str(folder / "data"), "--seed", str(arguments.seed), "--checkpoint_every", "0"]
        shape = ["--vocabulary_size", "1000", "--dropout", "0.05", "--token_budget", "1024"]
        minutes = arguments.minutes * arguments.share, arguments.minutes * (1 - arguments.share)
        pretrained, model = folder / "pretrained", folder / "model"
        limit = ["--max_minutes", str(minutes[0])]
        assert p5t5(["pretrain", *shared, *shape, *limit, "--out", str(pretrained)]) == 0
        limit = ["--max_minutes", str(minutes[1]), "--evaluations", "5", "--model", str(pretrained)]
        rates = "sequential/next_item=3,sequential/continue=3,rating/score=2,explanation=0.7,review=0.7,direct=0.5"
        assert p5t5(["finetune", *shared, *shape, *limit, "--tasks", rates, "--out", str(model)]) == 0
        split = leave_one_out(simulated.data)
        checkpoint = Checkpoint.load(model)
        found = evaluate_checkpoint(
            checkpoint, split, prompts=("seen",), protocols=("filtered",), seed=arguments.seed, progress=False
        )
    write_rows(arguments.out, found.rows)
    best, constant = simulated.best(), simulated.best_constant(split)
    for name, optimum in best.items():
        task, metric = name.split(" ")
        ours = [row for row in found.rows if (row["task"], row["metric"]) == (task, metric)]
        if not ours or ours[0]["value"] is None or name not in constant:
            continue
        way = (ours[0]["value"] - constant[name]) / (optimum - constant[name])
        detail = {"ours": ours[0]["value"], "constant": constant[name], "optimum": optimum}
        print(json.dumps({"case": name, "value": round(way, 3), "detail": detail}), flush=True)


if __name__ == "__main__":
    main()

"""Does a model forget when it meets newer data? Before and after `p5t5 update`, with and without replay.

python benchmarks/forgetting.py --data runs/ml-100k --recipe configs/recipes/ml-100k.yaml --minutes 5 --update_minutes 2 --out results/forgetting-ml-100k.jsonl

The interactions up to a time (--share of them) make the old data; a model is trained on them. `p5t5 update` then meets all
data: "before" only names and places new items and users, the others also train on the new interactions, for the same
minutes (soft targets are made before that clock starts), with --replay shares of old ones among them. Judged are validation
rows of the whole data that no model was trained on, alike for all arms: those of the old data, the new ones, and of these
those of users and of items that the old model did not know. A JSON line an arm, kind of rows and metric, with the paired
bootstrap over users of arm − before.

--model: a model that an earlier run left in --keep, instead of training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from p5t5.checkpoint.checkpoint import Checkpoint, user_key
from p5t5.cli.main import main as p5t5
from p5t5.core.errors import UserError
from p5t5.data.records.loading import load, load_records
from p5t5.data.records.tables import Records
from p5t5.data.splits import Split
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.evaluation.results import STATISTICS, Measured
from p5t5.metrics.intervals import bootstrap_interval, first_mean, paired_bootstrap
from p5t5.updating.new_interactions import restrict_validation, split_newer_data, update_groups

JUDGED = (("sequential/next_item", "filtered", "ndcg@10"), ("rating/score", "expected", "rmse"))
BEFORE = "before"


def older(records: Records, share: float) -> Records:
    """The first ``share`` of the interactions by time (whole moments), and the items and users that they have.

    UserError without times."""
    table = records.interactions
    if "timestamp" not in table or table["timestamp"].isna().any():
        raise UserError(f"{records.name} has no times: what is newer cannot be told.")
    until = np.sort(table["timestamp"].to_numpy())[int(len(table) * share) - 1]
    left = table[table["timestamp"] <= until].reset_index(drop=True)
    items = records.items[records.items["item_id"].isin(left["item_id"])].reset_index(drop=True)
    return replace(records, interactions=left, items=items, users=None, triples=None)


def command(*words: object) -> None:
    if code := p5t5([str(word) for word in words]):
        raise SystemExit(code)


def trained(old: Path, arguments: argparse.Namespace, out: Path) -> Path:
    shared = ["--config", arguments.recipe, "--data", old, "--seed", arguments.seed]
    command("finetune", *shared, "--max_minutes", arguments.minutes, "--out", out)
    return out


def updated(
    model: Path, old: Path, arguments: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, Checkpoint]]:
    """(arm, the model that met the whole data)."""
    shared = ["--model", model, "--old", old, "--data", arguments.data, "--seed", arguments.seed]
    command("update", *shared, "--training", "false", "--out", folder / BEFORE)
    yield BEFORE, Checkpoint.load(folder / BEFORE)
    for replay in arguments.replay:
        out = folder / f"replay-{replay}"
        limits = ["--max_minutes", arguments.update_minutes, "--epochs", 0, "--checkpoint_every", 0]
        command("update", *shared, *limits, "--replay", replay, "--evaluations", 2, "--out", out)
        yield f"replay {replay:g}", Checkpoint.load(out)


def kinds_of(model: Checkpoint, old: Path, data: Path) -> tuple[Split, dict[str, np.ndarray]]:
    """The split in which ``model``, trained on ``old``, meets the data; and its kinds of interactions."""
    records = load(data)
    split, is_new, _ = split_newer_data(model.info, records, load(old))
    known_items = model.catalogue.numbers(records.item_ids.tolist()) >= 0
    known_users = np.array([user_key(user) in model.users for user in records.user_ids], bool)
    if not model.users:  # known by their histories alone: by those of the old data
        known_users = np.isin(records.user_ids, load(old).user_ids)
    return split, update_groups(split, is_new, known_items, known_users)


def measured(model: Checkpoint, split: Split, asked: int) -> dict[tuple, Measured]:
    """(task, protocol, metric) → what was measured on the split's validation rows."""
    tasks = [task for task, _, _ in JUDGED if task in model.info.tasks]
    found = evaluate_checkpoint(
        model, split, tasks, "validation", ("seen",), limit=asked or None, progress=False, samples=0
    ).measured
    return {wanted: one for one in found for wanted in JUDGED if (one.task, one.protocol) == wanted[:2]}


def lines(
    arm: str, kind: str, found: Mapping[tuple, Measured], before: Mapping[tuple, Measured], about: Mapping
) -> Iterator[dict[str, Any]]:
    """A line a task of one arm and kind of rows, as `ablation.py` writes them."""
    for (task, protocol, metric), one in found.items():
        other = before[task, protocol, metric]
        assert np.array_equal(one.rows, other.rows)
        statistic = STATISTICS.get(metric, first_mean)
        value, *interval = bootstrap_interval(one.values[metric], users=one.users, statistic=statistic)
        less: list[float] = []
        if arm != BEFORE:
            pair = one.values[metric], other.values[metric]
            less = [
                round(number, 6) for number in paired_bootstrap(*pair, users=one.users, statistic=statistic)
            ]
        yield {
            "arm": arm,
            "task": task,
            "protocol": f"{protocol}, {kind}",
            "metric": metric,
            "value": round(value, 6),
            "ci95": [round(number, 6) for number in interval],
            "n": len(one.rows),
            **about,
            "against": BEFORE if less else None,
            "difference": less[0] if less else None,
            "difference_ci95": less[1:] or None,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path, help="data folder with times")
    parser.add_argument("--recipe", required=True, help="options of `p5t5 finetune`")
    parser.add_argument("--share", type=float, default=0.8, help="share of the interactions that is old")
    parser.add_argument("--minutes", type=float, default=5.0, help="training on the old data")
    parser.add_argument("--update_minutes", type=float, default=2.0, help="training of each update")
    parser.add_argument("--replay", type=float, nargs="+", default=[0.5, 0.0])
    parser.add_argument("--asked", type=int, default=0, help="validation users of each kind, drawn; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="", help="instead of training on the old data")
    parser.add_argument("--keep", default="", help="folder for the old data and the models")
    parser.add_argument(
        "--out", required=True, type=Path, help="file for the lines, forgetting-DATASET.jsonl"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(arguments.keep or name)
        try:
            older(load_records(arguments.data), arguments.share).write(folder / "old")
        except UserError as error:
            parser.error(str(error))
        model = (
            Path(arguments.model) if arguments.model else trained(folder / "old", arguments, folder / "model")
        )
        split, kinds = kinds_of(Checkpoint.load(model), folder / "old", arguments.data)
        before: dict[str, dict[tuple, Measured]] = {}
        text = ""
        for arm, checkpoint in updated(model, folder / "old", arguments, folder):
            for kind, rows in kinds.items():
                found = measured(checkpoint, restrict_validation(split, rows), arguments.asked)
                before.setdefault(kind, found)
                minutes = 0.0 if arm == BEFORE else arguments.update_minutes
                about = {"dataset": split.data.name, "seeds": [arguments.seed], "minutes": minutes}
                for line in lines(arm, kind, found, before[kind], about):
                    text += json.dumps(line) + "\n"
                    print(json.dumps(line), flush=True)
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(text)


if __name__ == "__main__":
    main()

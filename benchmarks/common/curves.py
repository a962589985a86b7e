"""How long a model takes to the tuned SASRec's validation NDCG@10, from the curves of both (`quality.py`).

Both are looked at on the same validation rows, filtered; seconds are those of training with validation, what came
before the training's clock (pretraining; soft targets and starting vectors) included. One target for both sides: what
SASRec's seeds reach at their best, on average. A time is that to the first validation at or above it, the mean over
seeds; a seed of SASRec that never gets there counts with the time of its best validation, which is told and is in
SASRec's favour. Validations are few, so all times are told a little late.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

Curve = list[tuple[float, float]]  # (seconds, NDCG@10 filtered), in time
NEARLY = 0.95  # of SASRec's best: the end of a curve is flat, and its last point comes late


def of_sasrec(curve: Sequence[Sequence[float]]) -> Curve:
    """From `sasrec.Fitted.curve`."""
    return [(line[1], line[4]) for line in curve]


def seconds_of(stages: Sequence[Mapping[str, Any]]) -> float:
    """What the stages of a model's p5t5.json took, what was prepared before their clocks included."""
    return sum((stage.get(name) or 0.0) for stage in stages for name in ("seconds", "prepared_seconds"))


def stages_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "p5t5.json").read_text())["stages"]


def of_ours(folder: Path) -> Curve:
    """From a model folder's metrics.jsonl; earlier stages and what was prepared for the last one are added."""
    stages = stages_of(folder)
    before = seconds_of(stages[:-1]) + (stages[-1].get("prepared_seconds") or 0.0)
    lines = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        (before + line["elapsed"], line["validation"]["ndcg@10"])
        for line in lines
        if "ndcg@10" in line.get("validation", {})
    ]


def first(curve: Curve, wanted: float) -> float:
    """Seconds to the first point at or above ``wanted``; infinity where there is none."""
    return min((seconds for seconds, value in curve if value >= wanted), default=math.inf)


def first_or_best(curve: Curve, wanted: float) -> float:
    """Seconds to the first point at or above ``wanted``, else to the best one."""
    found = first(curve, wanted)
    return found if math.isfinite(found) else max(curve, key=lambda point: (point[1], -point[0]))[0]


def keep(out: Path, identity: Mapping[str, Any], sasrec: Mapping[str, Curve]) -> None:
    """SASRec's curves, by seed, beside the rows OUT."""
    words = {**identity, "threads": torch.get_num_threads(), "sasrec": sasrec}
    path = out.with_suffix(".curves.json")
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(words) + "\n")
    temporary.replace(path)


def time_to_sasrec(out: Path, identity: Mapping[str, Any], folders: Sequence[str]) -> dict[str, Any] | None:
    """The line, also written to OUT-times.jsonl; ``value`` (ours / SASRec's seconds) is None where ours never gets there.

    None where a curve is missing (no model folder, SASRec not trained), or is of other validation users.
    """
    path = out.with_suffix(".curves.json")
    known = json.loads(path.read_text()) if path.is_file() else {}
    mine = [curve for folder in folders if (curve := of_ours(Path(folder)))]
    if not mine or any(known.get(name) != value for name, value in identity.items()):
        return None
    users = {stages_of(Path(folder))[-1].get("validation_users") for folder in folders}
    if users - {None, known["validation_users"]}:  # None: a model of before this was kept
        print(
            f"time_to_sasrec is left out: ours was validated on {users} users, SASRec on {known['validation_users']}"
        )
        return None
    theirs = [[tuple(point) for point in curve] for curve in known["sasrec"].values()]
    wanted = float(np.mean([max(value for _, value in curve) for curve in theirs]))
    found, detail = {}, {}
    for share in (1.0, NEARLY):
        own = [first(curve, share * wanted) for curve in mine]
        other = [first_or_best(curve, share * wanted) for curve in theirs]
        found[share] = float(np.mean(own)), float(np.mean(other))
        below = [seed for seed, curve in known["sasrec"].items() if first(curve, share * wanted) == math.inf]
        detail[share] = {
            "ours by seed": [_known(one) for one in own],
            "theirs by seed": other,
            "seeds of theirs below the target, with the time to their best": below,
        }
    line = {
        "case": "time_to_sasrec",
        "value": _known(found[1.0][0] / found[1.0][1]),
        "detail": {
            "ours": _known(found[1.0][0]),
            "theirs": found[1.0][1],
            **detail[1.0],
            f"to {NEARLY:.0%}": [_known(found[NEARLY][0]), found[NEARLY][1]],
            "target": round(wanted, 6),
            "our best": [round(max(value for _, value in curve), 6) for curve in mine],
            "validation_users": known["validation_users"],
            "threads of ours": [stages_of(Path(folder))[-1].get("threads") for folder in folders],
            "threads of sasrec": known["threads"],
        },
    }
    times = out.with_name(f"{out.stem}-times.jsonl")
    times.write_text(json.dumps(line) + "\n")
    return line


def _known(number: float) -> float | None:
    """JSON has no infinity."""
    return round(number, 3) if math.isfinite(number) else None

"""How long a model takes to the tuned SASRec's validation NDCG@10, from the curves of both (`quality.py`).

Both are looked at on the same validation rows, filtered; seconds are those of training with validation, pretraining
included. SASRec's time is that to its best validation, the mean over seeds; ours that to the first validation as good
as SASRec's best (the mean over seeds of it): validations are few, so it is told a little late.
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


def of_ours(folder: Path) -> Curve:
    """From a model folder's metrics.jsonl; what earlier stages (pretraining) took is added."""
    stages = json.loads((folder / "p5t5.json").read_text())["stages"]
    before = sum(stage.get("seconds") or 0 for stage in stages[:-1])
    lines = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        (before + line["elapsed"], line["validation"]["ndcg@10"])
        for line in lines
        if "ndcg@10" in line.get("validation", {})
    ]


def first(curve: Curve, wanted: float) -> float:
    """Seconds to the first point at or above ``wanted``; infinity where there is none."""
    return min((seconds for seconds, value in curve if value >= wanted), default=math.inf)


def keep(out: Path, identity: Mapping[str, Any], sasrec: Mapping[str, Curve]) -> None:
    """SASRec's curves, by seed, beside the rows OUT."""
    words = {**identity, "threads": torch.get_num_threads(), "sasrec": sasrec}
    path = out.with_suffix(".curves.json")
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(words) + "\n")
    temporary.replace(path)


def time_to_sasrec(out: Path, identity: Mapping[str, Any], folders: Sequence[str]) -> dict[str, Any] | None:
    """The line, also written to OUT-times.jsonl; ``value`` (ours / SASRec's seconds) is None where ours never gets there.

    None where a curve is missing: no model folder, or SASRec was not trained.
    """
    path = out.with_suffix(".curves.json")
    known = json.loads(path.read_text()) if path.is_file() else {}
    mine = [curve for folder in folders if (curve := of_ours(Path(folder)))]
    if not mine or any(known.get(name) != value for name, value in identity.items()):
        return None
    theirs = [[tuple(point) for point in curve] for curve in known["sasrec"].values()]
    tops = [max(value for _, value in curve) for curve in theirs]
    wanted = float(np.mean(tops))
    found, detail = {}, {}
    for share in (1.0, NEARLY):
        own = [first(curve, share * wanted) for curve in mine]
        other = [first(curve, share * top) for curve, top in zip(theirs, tops, strict=True)]
        found[share] = float(np.mean(own)), float(np.mean(other))
        detail[share] = {"ours by seed": [_known(one) for one in own], "theirs by seed": other}
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
            "threads of sasrec": known["threads"],
        },
    }
    times = out.with_name(f"{out.stem}-times.jsonl")
    times.write_text(json.dumps(line) + "\n")
    return line


def _known(number: float) -> float | None:
    """JSON has no infinity."""
    return round(number, 3) if math.isfinite(number) else None

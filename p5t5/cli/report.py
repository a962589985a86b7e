"""``p5t5 report``: results.json → report.html and the model card."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p5t5.cli.main import run
from p5t5.cli.options import parse
from p5t5.core.errors import UserError
from p5t5.core.options import option, required
from p5t5.workflows.evaluate import CALIBRATION, COMPARISONS, SAMPLES

EXAMPLE = (
    "p5t5 report --results runs/results.json --model runs/model --data runs/ml-100k --out runs/report.html"
)


REPORT_MARK = b"<title>p5t5 on "  # in the head of every report


@dataclass
class ReportOptions:
    """What the report is made from."""

    results: str = required(
        "results.json of `p5t5 evaluate` (its samples and comparisons beside it are read too)"
    )
    out: str = required("HTML file to write")
    model: str = option("", "model folder: its learning curve is shown, its model card filled")
    pretrained: str = option("", "folder of the pretraining: its learning curve is shown")
    data: str = option("", "data folder: its counts are shown")
    overwrite: bool = option(False, "replace --out even if it is not a p5t5 report")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("report", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    (options,) = parse(
        (ReportOptions,),
        argv,
        name="report",
        about="Makes one self-contained HTML page of the results, and fills the model's card.",
        example=EXAMPLE,
    )
    from p5t5.checkpoint.info import CheckpointInfo
    from p5t5.evaluation.results import read_rows
    from p5t5.reporting.model_card import card_template, fill_model_card
    from p5t5.reporting.results_page import read_curve, write_report

    out = Path(options.out)
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file, such as {out / 'report.html'}.")
    if out.is_file() and not options.overwrite and REPORT_MARK not in out.read_bytes()[:4096]:
        raise UserError(
            f"--out {out} exists and is not a p5t5 report: name another file, or replace it with --overwrite."
        )
    results = Path(options.results)
    rows = read_rows(results)
    model = Path(options.model)
    info = CheckpointInfo.read(model) if options.model else None
    prepared = _read(Path(options.data) / "prepare.json", None) if options.data else {}
    if prepared is None:
        raise UserError(f"--data {options.data} is no data folder: it has no prepare.json.")
    if options.pretrained and not (Path(options.pretrained) / "metrics.jsonl").is_file():
        raise UserError(
            f"--pretrained {options.pretrained} is no folder of a training: it has no metrics.jsonl."
        )
    curves = {
        stage: read_curve(Path(folder) / "metrics.jsonl")
        for stage, folder in (("pretrain", options.pretrained), ("finetune", options.model))
        if folder and (Path(folder) / "metrics.jsonl").is_file()
    }
    write_report(
        options.out,
        rows,
        comparisons=_read(results.with_suffix(COMPARISONS), []),
        samples=_read(results.with_suffix(SAMPLES), []),
        calibration=_read(results.with_suffix(CALIBRATION), []),
        curves=curves,
        data=_facts(prepared),
    )
    if info is not None:
        card = fill_model_card(card_template(), rows, info, options.model)
        (model / "README.md").write_text(card)
        if results.resolve() != (model / "results.json").resolve():
            shutil.copyfile(results, model / "results.json")
    print(f"report → {options.out}")


def _read(path: Path, otherwise: Any) -> Any:
    if not path.is_file():
        return otherwise
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): make it again.") from error


def _facts(prepared: dict[str, Any]) -> dict[str, Any]:
    """What a report says of the data: the name, the source, the counts."""
    facts = {name: prepared[name] for name in ("name", "source", "licence") if prepared.get(name)}
    counted = ("users", "items", "interactions")
    return facts | {name: f"{prepared[name]:,}" for name in counted if name in prepared}


if __name__ == "__main__":
    sys.exit(main())

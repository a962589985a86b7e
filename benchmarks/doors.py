"""What real people typed and fed: every case of ../shared/cases, run as a person would, judged by kind.

python benchmarks/doors.py                                  # all kinds → results/doors.jsonl
python benchmarks/doors.py --kind K2 --show                 # one kind: what was expected, what came
python benchmarks/doors.py --model runs/quickstart/model --data runs/quickstart/data

A data case (doors_data.py) is right if `p5t5 prepare` reads what a reader of the benchmark's own reads, or refuses in
words of cause and remedy. A question (doors_questions.py) and a call (doors_api.py) are asked of a quickstart's
MovieLens model; without --model a short one is trained in runs/doors. One JSON line a kind: the share that is right.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from common import doors_data
from common.doors_run import Verdict, command, shortened

ROOT = Path(__file__).resolve().parents[1]
STEPS = "200"  # of the model that is trained where none is named
LIBRARIES = ("torch", "transformers", "pyarrow", "pandas")


def read_cases(folder: Path, kinds: Sequence[str] = ()) -> list[dict[str, str]]:
    path = folder / "cases.tsv"
    if not path.is_file():
        sys.exit(f"doors: --cases: {folder} holds no cases.tsv")
    with open(path, encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row for row in rows if not kinds or row["kind"] in kinds]


def data_verdicts(cases: Path, rows: Sequence[dict[str, str]]) -> list[Verdict]:
    """Of the cases of the table that need no model."""
    return [_verdict(row, lambda row=row: doors_data.run(cases, row["case"])) for row in rows]


def model_verdicts(
    cases: Path, rows: Sequence[dict[str, str]], kinds: Sequence[str], model: Path, data: Path
) -> list[Verdict]:
    """Of calls from Python, of commands on finished work, and of questions in plain text."""
    from common import doors_api, doors_questions

    world = doors_questions.World(model, data)
    calls = doors_api.Calls(world, model, cases)
    verdicts = [_verdict(row, lambda row=row: doors_api.run(calls, row["case"])) for row in rows]
    return verdicts + doors_questions.run(cases, world, kinds)


def _verdict(row: dict[str, str], judge) -> Verdict:
    try:
        right, got = judge()
    except KeyError as error:  # a case of the table that nobody has written a check for
        right, got = False, f"no check: {error}" if error.args == (row["case"],) else traceback.format_exc()
    except Exception:
        right, got = False, traceback.format_exc()
    return Verdict(row["case"], row["kind"], right, f"{row['input']}: {row['expected']}", got)


def short_model(top: Path) -> tuple[Path, Path]:
    """A model of `p5t5 finetune --model tiny` on MovieLens-100K, kept in ``top``."""
    data, model = top / "data", top / "model"
    steps = [
        (data, ["prepare", "ml-100k", "--attribute_explanations", "false"]),
        (model, ["finetune", "--data", str(data), "--model", "tiny", "--max_steps", STEPS]),
    ]
    for folder, words in steps:
        if not folder.is_dir():
            out = command(*words, "--out", str(folder))
            if out.code != 0:
                sys.exit(
                    f"doors: p5t5 {words[0]} failed; name a trained model by --model and --data\n{out.words}"
                )
    return model, data


def lines(verdicts: Sequence[Verdict]) -> list[dict]:
    """A line a kind: the share that is right, and which cases are not."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    stamp = {"commit": commit.stdout.strip(), "versions": {name: version(name) for name in LIBRARIES}}
    out = []
    for kind in sorted({verdict.kind for verdict in verdicts}, key=_order):
        mine = [verdict for verdict in verdicts if verdict.kind == kind]
        wrong = [verdict.id for verdict in mine if not verdict.right]
        value = round(1 - len(wrong) / len(mine), 4)
        out.append({"case": kind, "value": value, "detail": {"cases": len(mine), "wrong": wrong, **stamp}})
    return out


def keep(path: Path, new: Sequence[dict]) -> None:
    """The new lines in place of those of the same kinds; other kinds stay."""
    old = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    kinds = {line["case"] for line in new}
    kept = sorted(
        [*(line for line in old if line["case"] not in kinds), *new], key=lambda line: _order(line["case"])
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept), "utf-8")


def _order(kind: str) -> tuple[int, str]:
    return (int(kind[1:]) if kind[1:].isdigit() else 0, kind)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=Path, default=ROOT.parent / "shared" / "cases")
    parser.add_argument(
        "--model", type=Path, help="a quickstart's MovieLens model (default: a short one is trained)"
    )
    parser.add_argument("--data", type=Path, help="its data folder")
    parser.add_argument(
        "--kind", action="append", default=[], help="only this kind, such as K2; may be repeated"
    )
    parser.add_argument("--show", action="store_true", help="print what was expected and what came")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "doors.jsonl")
    options = parser.parse_args(argv)
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data go together")

    rows = read_cases(options.cases, options.kind)
    of_model = [row for row in rows if row["case"] in ("D78", "D80") or row["case"].startswith("A")]
    verdicts = data_verdicts(options.cases, [row for row in rows if row not in of_model])
    asked = options.cases / "questions.tsv"
    if of_model or (asked.is_file() and any(not options.kind or f"{kind}\t" in asked.read_text("utf-8") for kind in options.kind or [""])):  # fmt: skip
        model, data = (options.model, options.data) if options.model else short_model(ROOT / "runs" / "doors")
        verdicts += model_verdicts(options.cases, of_model, options.kind, model, data)
    if not verdicts:
        parser.error(f"--kind: no case of {', '.join(options.kind)}")

    if options.show:
        for verdict in verdicts:
            print(f"{verdict.id} {verdict.kind} {'right' if verdict.right else 'WRONG'}: {verdict.expected}")
            print(f"    {shortened(verdict.got)}\n" if verdict.got else "")
    new = lines(verdicts)
    print(f"{'kind':5} {'right':>6} {'cases':>6}  wrong")
    for line in new:
        print(
            f"{line['case']:5} {line['value']:6.2f} {line['detail']['cases']:6d}  {' '.join(line['detail']['wrong'])}"
        )
    right = sum(verdict.right for verdict in verdicts)
    print(f"{right} of {len(verdicts)} cases are right")
    keep(options.out, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The importing benchmark runs: a quick one keeps the same rows on both sides; its figures mean nothing."""

import json
import math
import subprocess
import sys

from support.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "importing.py"
FIGURES = ("rows_per_second", "rows_per_cpu_second", "peak_mb")
CASES = [f"import_{figure}_{side}" for side in ("p5t5", "pandas") for figure in FIGURES]
CASES += [f"import_{figure}_ratio" for figure in ("seconds", "cpu_seconds", "peak_mb")]


def lines_of(*arguments: str) -> list[dict]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_case_prints_one_line():
    lines = lines_of("--rows", "20000")
    assert [line["case"] for line in lines] == CASES
    assert all(set(line) == {"case", "value", "detail"} and math.isfinite(line["value"]) for line in lines)
    assert all(line["value"] > 0 for line in lines)


def test_a_busy_machine_has_no_clock(tmp_path):
    lines = lines_of("--rows", "20000", "--busy", "--keep", str(tmp_path / "kept.jsonl"))
    assert [line["case"] for line in lines] == [
        case for case in CASES if "per_second" not in case and case != "import_seconds_ratio"
    ]
    assert [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()] == lines


def test_generated_bad_files(tmp_path):
    kept = tmp_path / "bad.jsonl"
    lines = lines_of("--fuzz", "5", "--keep", str(kept))
    found = {line["case"]: line["value"] for line in lines}
    assert lines[0]["case"] == "bad_inputs" and lines[0]["value"] == 5
    assert lines[0]["detail"] == {"tracebacks": 0, "good_rows_lost": 0}
    assert found["bad_inputs_imported"] + found["bad_inputs_refused"] >= 5
    assert [json.loads(line) for line in kept.read_text().splitlines()] == lines


def test_a_fuzz_goes_on_where_it_was(tmp_path):
    counts = {"imported": 3, "refused": 2, "good rows": 40, "bad rows": 7, "fault: short": 7, "seconds": 1.5}
    shard = {"shard": [0, 5], "counts": counts}
    (tmp_path / "bad.shards").write_text(json.dumps(shard) + "\n")
    lines = lines_of("--fuzz", "5", "--keep", str(tmp_path / "bad.jsonl"))
    found = {line["case"]: line["value"] for line in lines}
    assert found["bad_inputs_good_rows"] == 40 and found["fault: short"] == 7
    assert found["bad_inputs_seconds"] == 1.5 and not (tmp_path / "bad.shards").exists()

"""The importing benchmark runs: a quick one keeps the same rows on both sides; its figures mean nothing."""

import json
import math
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "importing.py"
CASES = [
    *(
        "import_rows_per_second_p5t5",
        "import_peak_mb_p5t5",
        "import_rows_per_second_pandas",
        "import_peak_mb_pandas",
    ),
    *("import_seconds_ratio", "import_cpu_seconds_ratio", "import_peak_mb_ratio"),
]


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


def test_generated_bad_files():
    (line,) = lines_of("--fuzz", "5")
    assert line["case"] == "bad_inputs" and line["value"] == 5
    assert line["detail"]["imported"] + line["detail"]["refused"] >= 5

"""The main job gives the same bytes twice, and on one pinned platform the bytes that are stored beside this test.

Whoever restructures code sees here that nothing moved. Where a change of behaviour is meant, run this file with
``P5T5_STORE_DIGEST=1`` and commit the new ``main_job_digest.json`` with the reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.paths import ROOT

STORED = ROOT / "tests" / "system" / "main_job_digest.json"
TASKS = "sequential/next_item,rating/score,rating/like,review/score,direct/choose"
JOB = (
    "prepare simulated --users 60 --items 160 --out {out}/data",
    "pretrain --data {out}/data --model tiny --max_steps 4 --out {out}/pretrained",
    "finetune --data {out}/data --model {out}/pretrained --max_steps 8 --out {out}/model",
    f"evaluate --data {{out}}/data --model {{out}}/model --tasks {TASKS} --out {{out}}/results.json",
    "recommend --data {out}/data --model {out}/model --k 3 --out {out}/recommendations.csv",
)
QUESTIONS = """
import json, sys
import p5t5
rec = p5t5.Recommender.from_pretrained(sys.argv[1])
titles = rec.catalogue.titles
found = []
for text in (
    f"I loved {titles[3]} and {titles[8]}. What should I try next?",
    f"How many stars would I give {titles[5]}? I gave {titles[2]} five stars.",
    f"Would I like {titles[9]}?",
):
    answer = rec(text, k=3)
    items = [(item.item_id, round(item.score, 4)) for item in answer.items]
    found.append([answer.kind, items, answer.value and round(float(answer.value), 4), answer.task])
json.dump(found, open(sys.argv[2], "w"))
"""


def run(out: Path) -> dict[str, str]:
    """Digests of what the main job leaves, run with one thread in processes of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    commands = [[sys.executable, "-m", "p5t5", *line.format(out=out).split()] for line in JOB]
    commands.append([sys.executable, "-c", QUESTIONS, f"{out}/model", f"{out}/answers.json"])
    for command in commands:
        done = subprocess.run(command, env=environment, cwd=out, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    rows = json.loads((out / "results.json").read_text())
    values = sorted(
        [row["model"], row["task"], row["prompt"], row["protocol"], row["metric"], round(row["value"], 5)]
        for row in rows
        if row["value"] is not None
    )
    files = ("pretrained/model.safetensors", "model/model.safetensors", "recommendations.csv", "answers.json")
    return {
        **{name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in files},
        "results": hashlib.sha256(json.dumps(values).encode()).hexdigest(),
    }


def this_platform() -> str:
    """What the last bits of float32 sums depend on."""
    cpus = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpus.read_text()) if cpus.is_file() else []
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"torch {torch.__version__}, {platform.machine()}, {capability}, {names[0] if names else 'unknown'}"
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_main_job_is_deterministic_and_as_stored(tmp_path):
    (tmp_path / "one").mkdir()
    found = run(tmp_path / "one")
    here = this_platform()
    if os.environ.get("P5T5_STORE_DIGEST"):
        STORED.write_text(json.dumps({"platform": here, "digests": found}, indent=1) + "\n")
    stored = json.loads(STORED.read_text())
    if stored["platform"] == here:
        assert found == stored["digests"]
        return
    (tmp_path / "two").mkdir()  # elsewhere: at least the same twice
    assert run(tmp_path / "two") == found

"""The wheel holds what an installed p5t5 needs: prompts, card template, style, word lists."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest
from support.paths import ROOT


def test_wheel_has_prompts_and_templates(tmp_path):
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    families = ("rating", "sequential", "explanation", "review", "direct")
    wanted = {f"p5t5/prompts/{family}.yaml" for family in families}
    wanted |= {
        "p5t5/model_card.md",
        "p5t5/reporting/report.css",
        "p5t5/questions/questions.yaml",
        "p5t5/py.typed",
    }
    assert wanted <= names
    assert not [name for name in names if name.startswith(("tests/", "scripts/", "results/"))]


def test_nothing_names_a_machine_or_a_registry():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if not path.is_file() or name == "tests/system/test_packaging.py":
            continue
        text = path.read_text(errors="ignore")
        for forbidden in ("/work/", "/farm/", "/opt/wheels", "download.pytorch.org", "pypi.org/simple"):
            assert forbidden not in text, f"{name} names {forbidden}"

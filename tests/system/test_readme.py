"""What the README says is what happens: its tables come from results, its commands and code run."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys

import pandas as pd
import pytest
from support.paths import ROOT
from support.quick_texts import quick_texts

from p5t5.cli.main import COMMANDS, main
from p5t5.data.sources.simulated import simulate
from p5t5.recommender import Recommender
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import load_prompts

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The README's afternoon with one's own table, on simulated interactions and with a few steps of training."""
    folder = tmp_path_factory.mktemp("shop")
    records = simulate(users=40, items=160).records
    table = records.interactions.rename(columns={"user_id": "customer", "item_id": "product"})
    table.to_csv(folder / "interactions.csv", index=False)
    (told,) = [text for text in blocks("bash") if "prepare table" in text]
    lines = [line.split("  #")[0] for line in told.strip().splitlines()]
    short = {"pretrain": "--max_steps 2", "finetune": "--max_steps 2", "recommend": "--k 3"}
    for line in lines:
        words = [word.replace("runs/", f"{folder}/") for word in shlex.split(line)]
        words = [str(folder / word) if word == "interactions.csv" else word for word in words]
        assert words[0] == "p5t5" and words[1] in COMMANDS
        with quick_texts():
            assert main(words[1:] + short.get(words[1], "").split()) == 0, line
    return folder


def test_the_afternoon_leaves_its_outputs(shop):
    assert (shop / "report.html").stat().st_size > 1000
    table = pd.read_csv(shop / "recommendations.csv")
    assert table["user_id"].nunique() == 40 and len(table) == 120


def test_python_blocks_run(shop, capsys):
    (code,) = blocks("python")
    titles = Recommender.from_pretrained(shop / "model").catalogue.titles
    code = code.replace("runs/quickstart/model", str(shop / "model"))
    for place, title in enumerate(("Alien (1979)", "Fargo (1996)", "Toy Story (1995)")):
        code = code.replace(title, titles[place])
    exec(compile(code, "README.md", "exec"), {})
    assert "items" in capsys.readouterr().out


def test_tables_are_made_from_results(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["readme_tables.py", "--check"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "readme_tables.py"), run_name="__main__")
    assert stop.value.code == 0, "run python scripts/readme_tables.py"


def test_the_number_of_prompts_and_tasks_is_right():
    assert f"{len(load_prompts())} prompts of {len(TASKS)} tasks" in README


def test_paths_that_are_named_exist():
    for path in re.findall(r"`((?:p5t5|scripts|docs|configs|prompts|tests)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh", "setup.sh", "docs.sh"])
def test_shell_scripts_parse(script):
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / script)], check=True)


def test_quickstart_explains_itself_and_refuses_nonsense():
    run = ["bash", str(ROOT / "scripts" / "quickstart.sh")]
    told = subprocess.run([*run, "--help"], capture_output=True, text=True)
    assert told.returncode == 0 and "--minutes" in told.stdout
    for wrong in (["--minutes", "soon"], ["--colour"]):
        refused = subprocess.run([*run, *wrong], capture_output=True, text=True)
        assert refused.returncode == 2 and "quickstart:" in refused.stderr


@pytest.mark.parametrize("script", sorted(f"{name}.py" for name in set(COMMANDS) - {"report"}))
def test_launchers_reach_their_commands(script):
    environment = {**os.environ, "COLUMNS": "120"}
    told = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--help"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert told.returncode == 0 and f"p5t5 {script[:-3]}" in told.stdout

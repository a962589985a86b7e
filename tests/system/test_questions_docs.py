"""docs/questions.md is what happens: its commands and its Python run, in order, on a small model."""

from __future__ import annotations

import re
import shlex

import pytest
from support.films import film_records
from support.paths import ROOT

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.cli.main import main
from p5t5.data.splits import leave_one_out
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import load_prompts

PAGE = (ROOT / "docs" / "questions.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("questions")
    records = film_records()
    records.write(root / "runs/quickstart/data")
    split = leave_one_out(records.index())
    checkpoint = create_checkpoint(split, load_prompts(), model="tiny", vocabulary_size=400)
    checkpoint.info.tasks = list(TASKS)
    checkpoint.save(root / "runs/quickstart/model")
    return root


def test_every_block_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    names: dict = {}
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "docs/questions.md", "exec"), names)
            continue
        assert kind == "bash"
        for line in text.strip().splitlines():
            words = shlex.split(line)
            assert words[0] == "p5t5" and main(words[1:]) == 0, line
    out = capsys.readouterr().out
    assert '"intent": "recommend"' in out and "The last item of user 17" in out

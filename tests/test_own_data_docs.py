"""docs/own-data.md is what happens: its commands run in order, and what `prepare` says is compared."""

from __future__ import annotations

import contextlib
import io
import re
import shlex

import pytest
from conftest import ROOT

from p5t5.commands.cli import main

PAGE = (ROOT / "docs" / "own-data.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.strip().splitlines()]
SHORT = {"pretrain": ["--max_steps", "2"], "finetune": ["--max_steps", "2"]}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each command printed, in a folder of its own."""
    folder = tmp_path_factory.mktemp("club")
    (made,) = [text for kind, text in BLOCKS if kind == "python"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(made, "own-data.md", "exec"), {})
        outputs = {}
        for line in COMMANDS:
            words = shlex.split(line)
            assert words[0] == "p5t5"
            outputs[words[1]] = run(words[1:])
    return folder, outputs


def run(words: list[str]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main([*words, *SHORT.get(words[0], [])]) == 0, words
    return said.getvalue()


def test_prepare_says_what_the_page_shows(told):
    _, outputs = told
    shown = next(text for kind, text in BLOCKS if kind == "text")
    told_lines, shown_lines = (
        [line for line in text.strip().splitlines() if not line.startswith(("tasks:", "off:"))]
        for text in (outputs["prepare"], shown)
    )  # which tasks there are is not this page's business
    assert told_lines == shown_lines


def test_the_afternoon_leaves_its_files(told):
    folder, outputs = told
    assert list(outputs) == ["prepare", "pretrain", "finetune", "evaluate", "report", "query", "recommend"]
    for name in (
        "data/report.html",
        "results.json",
        "results.html",
        "recommendations.csv",
        "model/README.md",
    ):
        assert (folder / name).stat().st_size > 500, name
    assert re.search(r"^\s+1\. The \w+ \w+", outputs["query"], re.MULTILINE)


def test_links_and_options_exist():
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path
    source = (ROOT / "p5t5" / "commands" / "prepare.py").read_text() + (
        ROOT / "p5t5" / "sources" / "guessing.py"
    ).read_text()
    text = re.sub(r"```.*?```", "", PAGE[: PAGE.index("## Train")], flags=re.DOTALL)
    for option in set(re.findall(r"`(--\w+)", text)):
        assert f'"{option}"' in source, option

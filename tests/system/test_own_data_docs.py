"""docs/own-data.md is what happens: its commands run in order, and what `prepare` says is compared."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from dataclasses import fields

import pytest
from support.paths import ROOT
from support.quick_texts import quick_texts

from p5t5.cli.main import main
from p5t5.data.build import SOURCES

PAGE = (ROOT / "docs" / "own-data.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.strip().splitlines()]
SHORT = {"pretrain": ["--max_steps", "2"], "finetune": ["--max_steps", "2"]}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each command printed, in a folder of its own."""
    folder = tmp_path_factory.mktemp("club")
    (made,) = [text for kind, text in BLOCKS if kind == "python"]
    with quick_texts() as patch:
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
    known = {field.name for source in SOURCES.values() for field in fields(source.options)}
    text = re.sub(r"```.*?```", "", PAGE[: PAGE.index("## Train")], flags=re.DOTALL)
    for option in set(re.findall(r"`--(\w+)", text)):
        assert option in known, option


def test_figures_are_those_of_the_results():
    """Percentages of `benchmarks/extraction.py`; tables are filled by scripts/readme_tables.py, which a test holds."""
    path = ROOT / "results" / "amazon-musical-instruments-extraction.jsonl"
    lines = {line["case"]: line for line in map(json.loads, path.read_text().splitlines())}
    percent = {case: f"{line['value'] * 100:.0f} %" for case, line in lines.items()}
    words = lines["feature_words_recall"]["detail"]
    text = " ".join(PAGE.split())
    assert (
        f"{percent['reviews_with_an_explanation']} of the reviews give a sentence. Of the first {words['gold']} feature "
        f"words {percent['feature_words_precision_at_gold_size']} are among the {words['gold']} that another tool mined from "
        f"the same reviews, against {percent['frequent_nouns_precision_at_gold_size']} of the most frequent nouns; the whole "
        f"list of {words['words']} words holds {percent['feature_words_recall']} of them"
    ) in text
    imported = [json.loads(line) for line in (ROOT / "results" / "importing.jsonl").read_text().splitlines()]
    assert {f"{line['detail']['rows']:,} rows" in text for line in imported} == {True}
    assert not re.findall(r"\d\.\d{3}", re.sub(r"<!-- results.*?<!-- end -->", "", PAGE, flags=re.DOTALL))

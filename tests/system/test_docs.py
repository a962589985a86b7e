"""The pages hang together: links, anchors, paths and citations resolve, every result file is explained, the API builds."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]
PAGES += [ROOT / "results" / "README.md", *sorted(ROOT.glob("dev/lab/*.md"))]
TEXTS = (".md", ".py", ".sh", ".yaml", ".toml")
LINK = re.compile(r"\]\(((?!https?:)[^)\s]+)\)")
CITED = re.compile(r"([A-Z][^\W\d_]+) (?:et al\.,?|(?:and|&) [A-Z][^\W\d_]+)[, ]*\(?((?:19|20)\d\d)\b")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings: lower case, spaces to dashes, punctuation gone."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def sources() -> list[Path]:
    kept = [path for path in ROOT.rglob("*") if path.suffix in TEXTS and path.is_file()]
    hidden = {".venv", ".git", "runs", "build", "dist"}
    return [path for path in kept if not hidden & set(path.relative_to(ROOT).parts)]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_and_their_anchors_resolve(page):
    for link in LINK.findall(page.read_text()):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_paths_in_the_repository_exist(page):
    pattern = r"`((?:p5t5|scripts|docs|configs|prompts|tests|benchmarks|results|dev)/[\w./-]+)`"
    for path in re.findall(pattern, page.read_text()):
        assert (ROOT / path).exists(), path


def test_what_code_and_recipes_say_of_the_lab_book_is_there():
    found = 0
    for path in sources():
        assert path == Path(__file__) or "docs/lab.md" not in path.read_text(), (
            f"{path}: the lab book is in dev/lab"
        )
        for name, anchor in re.findall(r"dev/lab/([\w-]+\.md)(?:#([\w-]+))?", path.read_text()):
            page = ROOT / "dev" / "lab" / name
            assert page.is_file() and (not anchor or anchor in anchors(page)), f"{path}: {name}#{anchor}"
            found += 1
    assert found > 5


def test_every_cited_work_is_in_the_references():
    references = (ROOT / "docs" / "references.md").read_text()
    entries = [line for line in references.splitlines() if line.startswith("| ")]
    found = set()
    for path in sources():
        if path.suffix not in (".py", ".md") or "tests" in path.parts or path.name == "references.md":
            continue
        found |= {(who, year) for who, year in CITED.findall(" ".join(path.read_text().split()))}
        for number in re.findall(r"(?i)arxiv[:/ a-z.]*?(\d{4}\.\d{5})", path.read_text()):
            assert number in references, f"{path}: arXiv {number}"
    assert len(found) > 10
    for who, year in found:
        assert any(who in entry and f"({year})" in entry for entry in entries), (who, year)


def test_every_result_file_has_a_row():
    text = (ROOT / "results" / "README.md").read_text()
    rows = [re.findall(r"`([\w.-]+)`", line.split("|")[1]) for line in text.splitlines() if line[:3] == "| `"]
    whole = {row[0] for row in rows}
    for first, *ends in rows:  # `name.json`, `.comparisons.json`: another end of the same name
        whole |= {re.sub(r"\.\w+$", "", first) + end if end[0] == "." else end for end in ends}
    assert {path.name for path in (ROOT / "results").iterdir()} - {"README.md"} <= whole


def test_the_lab_book_s_index_reaches_every_page():
    index = (ROOT / "dev" / "lab" / "README.md").read_text()
    for page in ROOT.glob("dev/lab/*.md"):
        assert page.name == "README.md" or f"({page.name}#" in index, page.name


def reference(out: Path, module: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / "api_reference.py"), str(out), module]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_the_api_reference_builds_without_a_warning(tmp_path):
    built = reference(tmp_path / "api", "p5t5.metrics")
    assert built.returncode == 0, built.stderr
    assert "ndcg" in (tmp_path / "api" / "p5t5" / "metrics" / "ranking.html").read_text()


def test_a_warning_of_the_api_reference_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "wrong.py").write_text(
        "from __future__ import annotations\n\n\ndef ask(question: Missing): ...\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    built = reference(tmp_path / "api", "wrong")
    assert built.returncode == 1 and "Missing" in built.stderr


def test_every_package_and_module_at_the_top_has_a_line_in_the_architecture():
    table = re.findall(r"^\| `([\w.]+)` \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    packages = {path.parent.name for path in ROOT.glob("p5t5/*/__init__.py")}
    assert packages | {"recommender.py"} == set(table)


def test_code_names_in_the_glossary_are_the_code_s():
    text = (ROOT / "docs" / "glossary.md").read_text()
    code = "\n".join(path.read_text() for path in ROOT.glob("p5t5/**/*.py"))
    for name in re.findall(r"`([A-Za-z]\w+)`", text):
        assert re.search(rf"\b{name}\b", code), name


def test_every_benchmark_that_runs_is_listed():
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    for path in ROOT.glob("benchmarks/*.py"):
        if '__name__ == "__main__"' in path.read_text():
            assert f"`{path.name}`" in text, path.name


def test_the_metrics_of_the_evaluation_page_run(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "evaluation.md").read_text(), re.DOTALL)
    exec(compile(code, "docs/evaluation.md", "exec"), {})
    assert "{'hr@1': 0.5, 'hr@3': 1.0, 'ndcg@1': 0.5, 'ndcg@3': 0.815" in capsys.readouterr().out


def test_every_page_is_reached_from_the_readme():
    linked = set(LINK.findall((ROOT / "README.md").read_text()))
    for page in ROOT.glob("docs/*.md"):
        assert named(page) in linked, page.name

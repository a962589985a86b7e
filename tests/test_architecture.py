"""Imports go one way, files stay small, and nobody reaches for what the project forbids."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "p5t5"

# Lowest first. A module may import from its own layer and from those below.
LAYERS = [
    "ragged randomness errors configuration registration",
    "records prompts metrics results values",
    "sources splits cooccurrence",
    "identifiers tasks corpus explaining",
    "mixture",
    "vocabulary rewording rendering denoising batching",
    "fused stacks loss modeling initialisation trie trie_building catalogue decoding",
    "baselines reading phrases",
    "starting_vectors",
    "checkpoint growing training",
    "fusion",
    "teaching",
    "answering evaluation validation writing trust",
    "asking recommender report data_report",
    "commands serving",
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names.split()}
FILES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py") or path.parent != PACKAGE
)


def module_of(path: Path) -> str:
    """The part of the package a file belongs to: p5t5/tasks/base.py → tasks."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> set[str]:
    """Parts of p5t5, and outside packages, that a file imports anywhere, lazily too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"p5t5.{alias.name}" for alias in node.names] if node.module == "p5t5" else [node.module]
        for name in names:
            found.add(name.split(".")[1] if name.startswith("p5t5.") else name.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    layer = LAYER[module_of(path)]
    above = {name for name in imports(path) & set(LAYER) if LAYER[name] > layer}
    # A configuration makes Auto classes know its model: the one place that looks up.
    if module_of(path) == "configuration":
        above -= {"modeling"}
    assert not above, f"{path.name} imports {sorted(above)} from a higher layer"


def test_every_part_of_the_package_has_a_layer():
    assert {module_of(path) for path in FILES} <= set(LAYER)


@pytest.mark.parametrize("part", ["tasks", "mixture", "prompts", "splits", "corpus"])
def test_questions_know_no_model_and_no_tokenizer(part):
    for path in FILES:
        if module_of(path) == part:
            assert not imports(path) & {"torch", "transformers", "tokenizers", "sentencepiece"}, path


def test_the_model_knows_no_recommendation():
    for path in FILES:
        if module_of(path) in ("modeling", "initialisation", "training"):
            assert not imports(path) & {"tasks", "mixture", "records", "splits", "prompts"}, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_small_and_named_for_what_they_hold(path):
    assert len(path.read_text().splitlines()) <= 420, "would two rooms be clearer than one?"
    assert path.stem not in ("utils", "helpers", "misc", "common", "manager")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_runs_what_it_reads(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.load"), f"{path}: {name}"
            for keyword in node.keywords:
                if keyword.arg in ("trust_remote_code", "allow_pickle"):
                    assert ast.literal_eval(keyword.value) is False, f"{path}: {keyword.arg}"
                if keyword.arg == "weights_only":
                    assert ast.literal_eval(keyword.value) is True, f"{path}: weights_only"

"""Imports go one way, files stay small, and nobody reaches for what the project forbids."""

from __future__ import annotations

import ast

import pytest
from support.paths import ROOT

PACKAGE = ROOT / "p5t5"

# Lowest first; the packages of one line do not import each other. The modules at the top stand where they are named.
LAYERS = [
    "_version core",
    "metrics data",
    "identifiers tasks",
    "text",
    "model decoding training",
    "baselines",
    "checkpoint",
    "fusion updating",
    "distillation inference",
    "evaluation questions",
    "recommender",
    "reporting",
    "workflows",
    "serving",
    "cli",
    "__main__ __init__",
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names.split()}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}
MOST_LINES, MOST_INIT_LINES, LONGEST_FUNCTION = 400, 40, 80
# A Hugging Face model's forward has the signature and the branches that its callers expect.
LONG_BY_CONTRACT = {"P5T5ForConditionalGeneration.forward"}


def package_of(module: str) -> str:
    """The room a module is in: tasks.base → tasks."""
    return module.split(".")[0]


def imported_modules(path) -> tuple[set[str], set[str]]:
    """Modules of p5t5, and outside packages, that a file names anywhere: lazily and for annotations too."""
    ours, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] != "p5t5":
                outside.add(name.split(".")[0])
                continue
            inside = name[len("p5t5.") :]
            while inside and inside not in FILES:
                if f"{inside}.__init__" in FILES:
                    inside = f"{inside}.__init__"
                    break
                inside = inside.rpartition(".")[0]
            ours.add(inside or "__init__")
    return ours, outside


IMPORTS = {module: imported_modules(path) for module, path in FILES.items()}


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down(module):
    room = package_of(module)
    for other in IMPORTS[module][0]:
        theirs = package_of(other)
        if theirs == room or module == "__init__":
            continue
        assert LAYER[theirs] < LAYER[room], f"{module} imports {other}, which is not below it"


def test_no_circle_between_files():
    """Annotations and lazy imports count: a file that needs another's types knows it."""
    state: dict[str, str] = {}

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert state.get(module) != "open", f"circle: {' → '.join((*way[way.index(module) :], module))}"
        if module not in state:
            state[module] = "open"
            for other in sorted(IMPORTS[module][0] - {module}):
                visit(other, (*way, module))
            state[module] = "done"

    for module in FILES:
        if module not in ("__init__", "__main__"):  # the door names what is behind it
            visit(module, ())


def test_every_room_has_a_layer_and_the_listing_is_short():
    assert {package_of(module) for module in FILES} == set(LAYER)
    modules = list(PACKAGE.glob("*.py"))
    packages = [path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
    assert len(modules) <= 5 and len(packages) <= 21


@pytest.mark.parametrize(
    "module",
    [
        m
        for m in FILES
        if package_of(m) == "tasks"
        or m in ("text.mixture", "text.prompts", "data.splits", "text.pretraining_corpus")
    ],
)
def test_questions_know_no_model_and_no_tokenizer(module):
    assert not IMPORTS[module][1] & {"torch", "transformers", "tokenizers", "sentencepiece"}


@pytest.mark.parametrize("module", [m for m in FILES if package_of(m) in ("model", "training", "decoding")])
def test_the_model_knows_no_recommendation(module):
    assert not {package_of(other) for other in IMPORTS[module][0]} & {"tasks", "text", "data", "identifiers"}


@pytest.mark.parametrize("module", FILES)
def test_files_are_small_and_named_for_what_they_hold(module):
    path = FILES[module]
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, "would two rooms be clearer than one?"
    assert path.stem not in ("utils", "helpers", "misc", "common", "manager")
    if path.name == "__init__.py":
        assert lines <= MOST_INIT_LINES
        code = [n for n in ast.parse(path.read_text()).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
        assert not code or path.parent == PACKAGE, "an __init__.py only says what is in the package"


@pytest.mark.parametrize("module", FILES)
def test_functions_are_short(module):
    tree = ast.parse(FILES[module].read_text())
    owners = {
        id(f): f"{c.name}.{f.name}"
        for c in ast.walk(tree)
        if isinstance(c, ast.ClassDef)
        for f in c.body
        if isinstance(f, ast.FunctionDef)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            name = owners.get(id(node), node.name)
            length = node.end_lineno - node.lineno + 1
            assert length <= LONGEST_FUNCTION or name in LONG_BY_CONTRACT, f"{name} has {length} lines"


@pytest.mark.parametrize("module", FILES)
def test_nothing_runs_what_it_reads(module):
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.load"), (
                f"{module}: {name}"
            )
            for keyword in node.keywords:
                if keyword.arg in ("trust_remote_code", "allow_pickle"):
                    assert ast.literal_eval(keyword.value) is False, f"{module}: {keyword.arg}"
                if keyword.arg == "weights_only":
                    assert ast.literal_eval(keyword.value) is True, f"{module}: weights_only"

"""examples/own_data.ipynb runs from its first cell to its last, with a few steps of training."""

from __future__ import annotations

import ast
import json

import pytest
from support.paths import ROOT

NOTEBOOK = json.loads((ROOT / "examples" / "own_data.ipynb").read_text())
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What the last line of each cell gives, and the folder of it all."""
    folder, names, values = tmp_path_factory.mktemp("notebook"), {}, []
    assert any("max_minutes=3" in cell for cell in CELLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, cell in enumerate(CELLS):
            tree = ast.parse(cell.replace("max_minutes=3", "max_steps=3"))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, f"cell {number}", "exec"), names)
            if last is not None:
                values.append(eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names))
    return values, folder


def test_its_cells_run_and_show_something(shown):
    values, folder = shown
    listed, rated, answer = values[2:5]
    assert len(listed) == 5 and 1 <= rated <= 5 and answer.kind == "items" and len(answer.items) == 5
    assert all("<table" in value._repr_html_() for value in (listed, rated, answer))
    compared = values[5]
    assert {"model", "popularity", "count_floor", "bias"} <= set(compared["model"])
    assert (folder / "to-upload" / "model.safetensors").is_file()


def test_it_is_stored_without_outputs():
    for cell in NOTEBOOK["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None

"""docs/api.md: its Python runs from first to last block, and what it says comes back does."""

from __future__ import annotations

import re

import pytest
from support.paths import ROOT

import p5t5

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "api.md").read_text()


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the page's code leaves behind."""
    found: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("api"))
        for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(code, "docs/api.md", "exec"), found)
    return found


def test_what_the_page_shows_is_what_comes_back(names):
    assert set(names["prepared"].counts) >= {"users", "items", "interactions"}
    assert names["checkpoint"].info.tasks and {"metric", "value"} <= set(names["result"].rows[0])
    assert names["table"].columns.tolist() == ["user_id", "rank", "item_id", "title", "score"]
    assert names["answer"].kind == "items" and len(names["answer"].items) == 5
    assert names["found"].counts == {"new_items": 0, "new_users": 0, "new_interactions": 0}
    assert names["rating"].interval[0] <= names["rating"] <= names["rating"].interval[1]


def test_every_public_function_is_on_the_page():
    for name in set(p5t5.__all__) - {"Answer", "Recommendation", "__version__"}:
        assert f"p5t5.{name}" in PAGE, name

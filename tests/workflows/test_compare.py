"""Models and baselines are compared on the same rows, pair by pair, with the first of them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from support.shared_model import write_folders

from p5t5.cli.main import main
from p5t5.evaluation.results import first_mean
from p5t5.metrics.intervals import paired_bootstrap
from p5t5.workflows.compare import compare
from p5t5.workflows.evaluate import evaluate

TASKS = "sequential/next_item,rating/score"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    model, data = write_folders(tmp_path_factory.mktemp("compare"))
    shutil.copytree(model, model.with_name("b<b>"))
    return model, model.with_name("b<b>"), data


@pytest.fixture(scope="module")
def found(folders):
    root = folders[2].parent
    command = [
        "compare",
        "--data",
        str(folders[2]),
        "--models",
        str(folders[0]),
        str(folders[1]),
        "--tasks",
        TASKS,
    ]
    command += [
        "--baselines",
        "popularity",
        "bias",
        "--out",
        str(root / "c.json"),
        "--html",
        str(root / "c.html"),
    ]
    assert main(command) == 0  # fmt: skip
    return json.loads((root / "c.json").read_text()), (root / "c.html").read_text()


def test_everybody_is_there_with_time_and_memory(found):
    comparison, _ = found
    assert [(one["name"], one["kind"]) for one in comparison["contenders"]] == [
        ("model", "model"), ("b<b>", "model"), ("popularity", "baseline"), ("bias", "baseline"),
    ]  # fmt: skip
    for one in comparison["contenders"][:2]:
        assert one["seconds"] > 0 and one["parameters"] > 10_000 and one["folder_mb"] > 1
        assert one["memory_mb"] is None or one["memory_mb"] >= 0
    assert comparison["reference"] == "model"


def test_the_same_model_twice_is_level_with_itself(found):
    twins = [row for row in found[0]["differences"] if row["model"] == "b<b>"]
    assert {row["metric"] for row in twins} >= {"ndcg@10", "rmse"}
    assert all(row["difference"] == 0 and row["better"] is None for row in twins)


def test_differences_are_paired_by_hand(found, folders):
    (row,) = (
        row
        for row in found[0]["differences"]
        if (row["model"], row["protocol"], row["metric"]) == ("popularity", "filtered", "ndcg@10")
    )
    both = evaluate(folders[2], folders[0], tasks=TASKS, prompts="seen", fusion=False).measured
    ours, theirs = (
        next(one for one in both if (one.model, one.task, one.protocol) == (name, "sequential/next_item", "filtered"))
        for name in ("popularity", "p5t5")
    )  # fmt: skip
    assert np.array_equal(ours.rows, theirs.rows)
    difference, low, high = paired_bootstrap(
        ours.values["ndcg@10"], theirs.values["ndcg@10"], 0, users=ours.users, statistic=first_mean
    )
    assert (row["difference"], row["ci95"]) == (pytest.approx(difference, abs=1e-6), pytest.approx([low, high], abs=1e-6))  # fmt: skip


def test_the_page_is_escaped_and_tells_the_same(found):
    comparison, page = found
    assert "b<b>" not in page and "b&lt;b&gt;" in page and "<title>p5t5 on films</title>" in page
    value = next(row["value"] for row in comparison["rows"] if row["metric"] == "ndcg@10")
    assert f"{value:.4f}" in page and "Paired comparisons" in page


def test_what_cannot_be_compared_is_refused(folders, tmp_path, capsys):
    model, data = str(folders[0]), str(folders[2])
    (tmp_path / "mine.json").write_text("[1]")
    for options, why in (
        (["--models", model, "--baselines", "none"], "nothing to compare"),
        (["--models", model, model], "named twice"),
        (["--models", model, "--tasks", TASKS, "--baselines", "svd++"], "there is no 'svd++' here"),
        (["--models", model, "--out", str(tmp_path / "mine.json")], "holds no comparison"),
        (["--models", str(tmp_path)], "not a p5t5 checkpoint"),
    ):
        assert main(["compare", "--data", data, *options]) == 2
        assert why in capsys.readouterr().err
    assert (tmp_path / "mine.json").read_text() == "[1]"


def test_baselines_alone(folders):
    found = compare(folders[2], baselines=["popularity", "count_floor"], tasks=["sequential/next_item"])
    assert found.reference == "popularity" and {row["model"] for row in found.differences} == {"count_floor"}


def test_a_fitted_blend_is_a_contender_of_its_own(folders, tmp_path):
    model = shutil.copytree(folders[0], tmp_path / "blended")
    alone = compare(folders[2], [model], baselines=["popularity"], tasks=["sequential/next_item"])
    assert [one.name for one in alone.contenders] == ["blended", "popularity"]
    assert not (model / "fusion.json").exists(), "nothing is fitted by comparing"
    evaluate(folders[2], model, tasks=["sequential/next_item"], baselines=False, fusion=True)
    both = compare(folders[2], [model], baselines=["popularity"], tasks=["sequential/next_item"])
    assert [one.name for one in both.contenders] == ["blended", "blended+fusion", "popularity"]
    assert {row["model"] for row in both.differences} == {"blended+fusion", "popularity"}
    keys = [(row["model"], row["task"], row["protocol"], row["metric"]) for row in both.rows]
    assert len(keys) == len(set(keys))

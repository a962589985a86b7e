"""The leaderboard of the README: made from rows, sorted, quoted rows told from measured ones."""

from __future__ import annotations

import json
import runpy

from support.paths import ROOT

from p5t5.evaluation.results import FIELDS, read_rows

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "readme_tables.py"))
PUBLISHED = read_rows(ROOT / "results" / "published.json")


def row(model, value, metric="ndcg@10", protocol="unfiltered", prompt="", aggregate="seed", **more):
    return {
        "dataset": "shop",
        "split": "test",
        "scheme": "loo",
        "task": "sequential/next_item",
        "model": model,
        "prompt": prompt,
        "protocol": protocol,
        "metric": metric,
        "value": value,
        "ci95": value and [value - 0.01, value + 0.01],
        "aggregate": aggregate,
        "quoted": False,
        **more,
    }


def table(*rows) -> list[list[str]]:
    lines = SCRIPT["leaderboard"](list(rows)).splitlines()
    assert {line.count("|") for line in lines} == {11}
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_cell_of_a_measured_and_a_quoted_row():
    head, _, quoted, measured = table(
        row("p5t5", 0.05, prompt="held_out", seeds=[0, 1, 2], minutes=49.96, parameters=2_512_000),
        row("p5t5", 0.09, "hr@10", prompt="held_out", seeds=[0, 1, 2], minutes=49.96, parameters=2_512_000),
        row("Other", 0.06, protocol="", quoted=True, ci95=None, source="Other paper"),
    )
    assert head[:4] == ["system", "split", "protocol", "NDCG@10"] and head[-1] == "source"
    assert measured == ["p5t5, held-out prompts", "loo, test", "unfiltered", "0.0500", "0.0900",
                        "0.0400–0.0600", "3", "50.0", "2.51 M", "measured here"]  # fmt: skip
    assert quoted == [
        "*Other*",
        "loo, test",
        "not said",
        "0.0600",
        "–",
        "–",
        "–",
        "–",
        "–",
        "quoted: Other paper",
    ]


def test_best_first_filtered_last_and_the_mean_instead_of_its_seeds():
    lines = table(
        row("als", 0.01),
        row("count_floor", 0.02, protocol="filtered"),
        row("count_floor", 0.015),
        row("sasrec", 0.5, aggregate="seed", seeds=[0]),
        row("sasrec", 0.04, aggregate="mean", seeds=[0, 1]),
        row("sasrec", 0.6, aggregate="seed", seeds=[1]),
        row("bias", 0.9, metric="rmse"),
        row("broken", None),
        row("direct", 0.9, task="direct/choose"),
    )[2:]
    assert [(line[0], line[2], line[3]) for line in lines] == [
        ("sasrec", "unfiltered", "0.0400"),
        ("co-occurrence", "unfiltered", "0.0150"),
        ("ALS (implicit)", "unfiltered", "0.0100"),
        ("co-occurrence", "filtered", "0.0200"),
    ]


def test_published_rows_are_whole_and_the_leaky_one_says_so():
    for one in PUBLISHED:
        assert set(one) <= {*FIELDS, "source"} and one["quoted"] and one["source"]
        assert 0 < one["value"] < 0.2
    of = {}
    for one in PUBLISHED:
        of.setdefault(one["model"], {})[one["metric"]] = one
    for model, metrics in of.items():
        values = {metric: one["value"] for metric, one in metrics.items()}
        assert values["ndcg@10"] < values["hr@10"], model
        assert values.get("ndcg@5", 0) <= values["ndcg@10"] and values.get("hr@5", 0) <= values["hr@10"], (
            model
        )
        assert ("leaky" in metrics["ndcg@10"]["source"]) == (model == "P5-base")
    assert of["GRAM"]["ndcg@10"]["value"] == 0.0531


def test_the_marker_is_filled_with_measured_rows_where_there_are_any(tmp_path, monkeypatch):
    text = "before\n<!-- leaderboard shop -->\nold\n<!-- end -->\nafter"
    results = tmp_path / "results"
    results.mkdir()
    (results / "published.json").write_text(json.dumps([row("Paper", 0.06, quoted=True, source="P")]))
    monkeypatch.setitem(SCRIPT["filled"].__globals__, "ROOT", tmp_path)
    quoted = SCRIPT["filled"](text)
    assert "*Paper*" in quoted and "old" not in quoted and quoted.endswith("<!-- end -->\nafter")
    (results / "leaderboard-shop.json").write_text(json.dumps([row("ours", 0.07)]))
    both = SCRIPT["filled"](text)
    assert both.index("ours") < both.index("*Paper*") and SCRIPT["filled"](both) == both
    other = SCRIPT["filled"](text.replace("shop", "elsewhere"))
    assert "*Paper*" not in other and "| system |" in other


def test_a_short_board_has_the_best_systems_in_training_prompts_under_the_harder_protocol():
    rows = [
        row("ours", 0.08, prompt="held_out"),
        row("ours", 0.07, prompt="seen"),
        row("ours", 0.09, prompt="seen", protocol="filtered"),
        row("Paper", 0.06, protocol="", quoted=True, ci95=None, source="P"),
        row("third", 0.05),
    ]
    lines = SCRIPT["leaderboard"](rows, 2).splitlines()[2:]
    assert [line.split("|")[4].strip() for line in lines] == ["0.0700", "0.0600"]


def test_readme_has_the_short_board_and_the_benchmarks_page_all_of_it():
    assert "<!-- leaderboard amazon-beauty 5 -->" in (ROOT / "README.md").read_text()
    assert "<!-- leaderboard amazon-beauty -->" in (ROOT / "docs" / "benchmarks.md").read_text()

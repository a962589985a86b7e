import json
import re
from html.parser import HTMLParser

import pytest

from p5t5.checkpoint.info import CheckpointInfo, DataRecord
from p5t5.core.errors import UserError
from p5t5.evaluation.results import FIELDS
from p5t5.reporting.calibration import calibration
from p5t5.reporting.model_card import card_template, fill_model_card, readme_table, training_card
from p5t5.reporting.plots import LABELS, VALUES, WIDTH, Bar, Curve, _ticks, curve_plot, interval_plot
from p5t5.reporting.results_page import name_of, read_curve, strongest, write_report
from p5t5.tasks.base import BuildOptions

INFO = CheckpointInfo(
    model="tiny",
    split="loo",
    options=BuildOptions(),
    data=DataRecord("ml-100k", "0123456789abcdef", interactions=100_000),
    identifiers={"item": {"method": "atomic", "count": 1682}, "user": None},
    rating_values=[1.0, 2.0, 3.5],
    tasks=["rating/score", "sequential/next_item"],
    stages=[
        {"stage": "pretrain", "steps": 100, "seconds": 12.34, "stopped": "finished", "best": None},
        {
            "stage": "finetune",
            "steps": 50,
            "best": {"step": 40, "value": 0.1, "metrics": {"ndcg@10": 0.123456}},
        },
    ],
    versions={"p5t5": "9.9", "torch": "2.6"},
)


def row(model="p5t5", task="sequential/next_item", metric="ndcg@10", value=0.1, **more):
    shared = {
        "dataset": "ml-100k",
        "split": "test",
        "scheme": "loo",
        "seed": 0,
        "seconds": 1.0,
        "checkpoint": "",
    }
    out = {
        **shared,
        "model": model,
        "family": task.split("/")[0],
        "task": task,
        "prompt": "seen" if model.startswith("p5t5") else "",
        "protocol": "filtered",
        "metric": metric,
        "value": value,
        "ci95": None if value is None else [value - 0.01, value + 0.01],
        "n": 943,
        "quoted": False,
        "variant": "main",
        "aggregate": "seed",
        "text_decoding": "",
        **more,
    }
    return {name: out[name] for name in FIELDS}


ROWS = [
    row(value=0.1212),
    row(prompt="held_out", value=0.1111),
    row("count_floor", value=0.1073),
    row("popularity", value=0.0449),
    row(metric="hr@10", value=0.2222),
    row(task="rating/score", metric="rmse", protocol="expected", value=1.0111),
    row("bias", task="rating/score", metric="rmse", protocol="expected", value=1.0296),
    row(task="rating/like", metric="auc", protocol="choice", value=None),
    row(
        task="explanation/explain",
        metric="distinct1",
        protocol="text",
        value=0.5,
        ci95=None,
        text_decoding="consensus of 16",
    ),
]
COMPARISON = {
    "task": "sequential/next_item",
    "protocol": "filtered",
    "metric": "ndcg@10",
    "model": "p5t5",
    "prompt": "seen",
    "against": "count_floor",
    "difference": 0.0139,
    "ci95": [0.002, 0.025],
    "better": True,
    "n": 943,
    "seed": 0,
}
SAMPLE = {
    "task": "sequential/next_item",
    "prompt": "sequential-1",
    "kind": "seen",
    "protocol": "filtered",
    "question": "<user_3> : <item_1> . Next ?",
    "answer": "Alien (1979) ; <script>alert(1)</script>",
    "truth": "Fargo (1996)",
}
WRITTEN = {**SAMPLE, "task": "explanation/explain", "picked": "worst", "answer": "it is is is"}
CURVES = {
    "pretrain": [{"step": step, "loss": 5 / step, "elapsed": step} for step in (20, 40, 60)],
    "finetune": [
        {"step": 20, "loss": 3.0},
        {"step": 30, "validation": {"ndcg@10": 0.05, "rmse": 1.1}},
        {"step": 40, "loss": float("nan")},
        {"step": 60, "loss": 2.0, "validation": None},
        {"step": 60, "validation": {"ndcg@10": 0.09, "rmse": 1.05}},
    ],
}


CALIBRATION = {
    "task": "rating/score",
    "model": "p5t5",
    "variant": "main",
    "prompt": "seen",
    "protocol": "expected",
    "values": [
        {"group": 1.0, "n": 4, "predicted": 0.2, "observed": 0.25},
        {"group": 5.0, "n": 4, "predicted": 0.8, "observed": 0.75},
    ],
    "probabilities": [
        {"group": 2, "n": 4, "predicted": 0.2, "observed": 0.25},
        {"group": 8, "n": 4, "predicted": 0.8, "observed": 0.75},
    ],
    "expectations": [{"group": 0, "n": 4, "predicted": 4.2, "observed": 4.0}],
}


class Balanced(HTMLParser):
    """Fails on tags that are not closed in order; collects what points outside the file."""

    VOID = {"meta", "link", "img", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.outside, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [
            v for k, v in attrs if k in ("src", "href") and not str(v).startswith(("#", "data:"))
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    write_report(
        path,
        ROWS,
        comparisons=[COMPARISON],
        samples=[SAMPLE, WRITTEN],
        calibration=[CALIBRATION],
        curves=CURVES,
        data={"users": 943, "name": "ml-100k"},
        notes=["review/score is off: ml-100k has no review"],
    )
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    return path.read_text()


def test_the_page_is_whole_and_alone(page):
    parser = Balanced()
    parser.feed(page)
    assert not parser.open and not parser.outside
    assert "script" not in parser.tags and "&lt;script&gt;" in page  # what people wrote is shown, not run
    assert "url(" not in page and "@import" not in page
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page


def test_the_page_shows_what_was_measured(page):
    for text in (
        "0.1212",
        "0.1111",
        "0.1073",
        "1.0111",
        "n/a",
        "[0.111, 0.131]",
        "+0.0139",
        "better, paired",
    ):
        assert text in page
    assert page.count("among the worst by ROUGE-1") == 1 and "among the best" not in page
    assert "<small>consensus of 16</small>" in page
    assert "review/score is off" in page and "943" in page and "Alien (1979)" in page
    # figures: next_item, rating/score; losses of two stages, two validation metrics; none of one lone value
    # and two of how sure the ratings are
    assert page.count("<svg") == 2 + 2 + 2 + 2
    assert "calibration: rating/score, seen prompts" in page
    assert "<td>0.200</td><td>0.250</td>" in page


def test_an_empty_report_says_so_little_that_it_works(tmp_path):
    write_report(tmp_path / "report.html", [], data={"name": "nothing"})
    assert "p5t5 on nothing" in (tmp_path / "report.html").read_text()


def test_intervals_are_drawn_to_scale():
    svg = interval_plot("t", [Bar("a", 0.5, 0.0, 1.0, "model"), Bar("b", 1.0)])
    low, high = (
        float(re.search(rf'class="whisker model" .*?{end}="([\d.]+)"', svg)[1]) for end in ("x1", "x2")
    )
    dots = [float(x) for x in re.findall(r'cx="([\d.]+)"', svg)]
    assert dots[0] == pytest.approx((low + high) / 2, abs=0.1) and dots[1] == pytest.approx(high, abs=0.1)
    assert (low, high) == (LABELS, WIDTH - VALUES)  # from 0 to 1, the ends of the axis
    assert svg.count("whisker") == 1  # no interval, no whisker
    assert "<svg" in interval_plot("nothing", [])


def test_curves_leave_out_what_is_no_number():
    svg = curve_plot(
        "t", [Curve("a", [0, 1, 2], [1.0, float("nan"), 3.0]), Curve("b", [0, 2], [2.0, 2.0])], "step"
    )
    assert "nan" not in svg
    assert [len(points.split()) for points in re.findall(r'points="(.*?)"', svg)] == [2, 2]
    assert ">a</text>" in svg and ">b</text>" in svg
    assert "<svg" in curve_plot("nothing", [], "step")


@pytest.mark.parametrize(
    "low, high", [(0, 1), (0.03, 0.121), (1.01, 1.27), (0, 48_000), (2, 2), (0, 0), (-3, 5)]
)
def test_ticks_are_round_and_reach_over_the_data(low, high):
    ticks = _ticks(low, high, 4)
    assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 8 and ticks == sorted(set(ticks))


def test_a_curve_that_was_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_curve(path) == []
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_curve(path) == [{"step": 1, "loss": 2.0}]


def test_names():
    assert name_of(row()) == "p5t5, seen prompts"
    assert name_of(row("mf")) == "matrix factorization"
    assert name_of(row("p5t5+fusion", prompt="sequential-3", variant="no pretraining")) == (
        "p5t5+fusion, no pretraining, sequential-3"
    )


def test_the_rival_of_a_tile_is_the_strongest_baseline():
    rows = [
        row("p5t5", "review/score", "rmse", 0.85, protocol="expected"),
        row("bias", "review/score", "rmse", 0.89, protocol="expected"),
        row("tfidf_ridge", "review/score", "rmse", 0.77, protocol="expected"),
        row("mf", "review/score", "rmse", None, protocol="expected"),
        row("mf", "rating/score", "rmse", 0.5, protocol="expected"),
        row("count_floor", value=0.2),
        row("popularity", value=0.1),
    ]
    assert strongest(rows, "review/score", "rmse", "expected")["model"] == "tfidf_ridge"
    assert strongest(rows, "sequential/next_item", "ndcg@10", "filtered")["model"] == "count_floor"
    assert strongest(rows, "direct/choose", "ndcg@10", "1+99") is None


def test_readme_table():
    lines = readme_table(ROWS).splitlines()
    assert lines[0] == (
        "| task | protocol | metric | p5t5, seen prompts | p5t5, held-out prompts | baselines |"
    )
    assert lines[2] == (
        "| sequential/next_item | filtered | ndcg@10 | **0.1212** [0.111, 0.131] | 0.1111 [0.101, 0.121] "
        "| co-occurrence 0.1073, popularity 0.0449 |"
    )
    assert "rating/score | expected | rmse | **1.0111** [1.001, 1.021] |  | bias only 1.0296 |" in lines[4]
    assert len({line.count("|") for line in lines}) == 1
    assert readme_table([row("bias")]) == "" and readme_table([]) == ""


def test_what_the_model_says_alone_has_the_same_rivals():
    keys = {"task": "rating/score", "metric": "rmse"}
    blended, alone = (
        row(protocol="expected", value=0.9, **keys),
        row(protocol="expected, model alone", value=1.0, **keys),
    )
    table = readme_table([blended, alone, row("bias", protocol="expected", value=0.95, **keys)]).splitlines()
    assert (
        table[2].startswith("| rating/score | expected | rmse | **0.9000**")
        and "bias only 0.9500" in table[2]
    )
    assert table[3].startswith("| rating/score | expected, model alone | rmse | 1.0000")
    assert "bias only **0.9500**" in table[3]
    drawn = calibration([CALIBRATION, {**CALIBRATION, "protocol": "expected, model alone"}])
    assert "seen prompts</summary>" in drawn and "seen prompts, model alone</summary>" in drawn


def test_the_best_of_a_line_may_be_a_baseline():
    table = readme_table([row(value=0.1), row("count_floor", value=0.2)])
    assert "| 0.1000 [0.090, 0.110] | co-occurrence **0.2000** |" in table


def test_the_card_is_made_from_rows_and_info():
    card = fill_model_card(card_template(), ROWS, INFO)
    assert card.startswith("---\n") and "pipeline_tag: text-generation" in card
    assert "$" not in card
    assert "**0.1212**" in card and "1,682 items" in card and "rating, sequential" in card
    assert "- pretrain: steps 100, seconds 12.34, stopped finished" in card
    assert "best validation ndcg@10 0.1235 at step 40" in card
    assert "rating values: 1, 2, 3.5" in card and "item identifiers: atomic" in card


def test_the_card_is_one_that_the_hub_reads():
    from huggingface_hub import ModelCard

    card = ModelCard(fill_model_card(card_template(), ROWS, INFO))
    assert (card.data.license, card.data.license_name) == ("other", "movielens-research-only")
    assert card.data.pipeline_tag == "text-generation" and "p5t5" in card.data.tags
    shown = {(found.metric_type, found.metric_value) for found in card.data.eval_results}
    assert shown <= {(row["metric"], row["value"]) for row in ROWS} and ("ndcg@10", 0.1212) in shown


def test_the_card_before_evaluation():
    card = training_card(INFO.copy(stages=[], tasks=[]))
    assert "Not evaluated yet" in card and "Not trained yet" in card and "only been pretrained" in card


def test_a_template_with_an_unknown_placeholder():
    with pytest.raises(UserError, match="placeholder"):
        fill_model_card("price: $price", ROWS, INFO)
    with pytest.raises(UserError, match="placeholder"):
        fill_model_card("price: 3 $", ROWS, INFO)


def test_rows_of_the_report_are_json():
    assert json.loads(json.dumps(ROWS)) == ROWS

"""benchmarks/search.py: draws follow from the file alone, land in the options, and no trial's end ends the search."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT

from p5t5.cli.options import parse
from p5t5.core.errors import UserError
from p5t5.core.options import rates
from p5t5.data.sources.simulated import simulate
from p5t5.distillation.soft_targets import check_alphas
from p5t5.workflows.finetune import FinetuneOptions, FinetuneTraining
from p5t5.workflows.model_setup import StartOptions

pytest.importorskip("optuna")
sys.path.insert(0, str(ROOT / "benchmarks"))
import search
from common import search_space

NEXT, MORE = "sequential/next_item", "sequential/continue"
RECIPE = {"tasks": {NEXT: 1, MORE: 4}, "soft_targets": {NEXT: 0.5}, "dropout": 0.1, "evaluations": 4}
SPACE = {
    "learning_rate": {"low": "1e-4", "high": 0.01, "log": True},  # which YAML reads as a word
    "dropout": {"low": 0, "high": 0.3},
    "token_budget": [512, 1024, 2048],
    "max_history": {"low": 5, "high": 40},
    f"tasks.{MORE}": [0, 4, 8],
    f"soft_targets.{NEXT}": {"low": 0.2, "high": 0.9},
}
OWN = {"learning_rate": 7e-4, "dropout": 0.1, "token_budget": 1024, "max_history": 20, f"tasks.{MORE}": 4}
OWN |= {f"soft_targets.{NEXT}": 0.5}


def searching(rows=(), recipe=RECIPE, metric="ndcg@10", space=SPACE) -> search.Search:
    return search.Search(search_space.space_of(space, recipe, "space"), recipe, metric, 3, list(rows))


def row(number: int, value: float, validations=(), state="complete", **params) -> dict:
    return {"trial": number, "params": {**OWN, **params}, "value": value, "metrics": None, "steps": 9, "seconds": 1.0,
            "validations": list(validations), "seed": 3, "state": state, "error": None}  # fmt: skip


def arguments(tmp_path: Path, **changes) -> argparse.Namespace:
    values = {"minutes": 60.0, "trial_minutes": 1.0, "trials": 3, "validation_users": 9, "metric": "ndcg@10", "seed": 3,
              "data": str(tmp_path / "data"), "out": tmp_path / "s.jsonl", "work": tmp_path / "work"}  # fmt: skip
    return argparse.Namespace(**{**values, **changes})


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "search").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_spaces_name_options_that_exist_around_their_recipe(path, tmp_path):
    recipe = search_space.read_mapping(ROOT / "configs" / "recipes" / path.name)
    tried = searching(recipe=recipe, space=search_space.read_mapping(path))
    assert tried.propose()[0] == {one.name: one.own for one in tried.space}
    for end in (0, -1):  # both ends of everything are what the command takes
        params = {
            one.name: one.choices[end] if one.choices else (one.low, one.high)[end] for one in tried.space
        }
        (tmp_path / "trial.yaml").write_text(yaml.safe_dump(tried.options(params)))
        words = ["--config", str(tmp_path / "trial.yaml"), "--data", "d", "--out", "o"]
        start, finetune, training = parse(
            (StartOptions, FinetuneOptions, FinetuneTraining), words, name="finetune", about="", example=""
        )
        training.check()
        check_alphas(rates(finetune.soft_targets, "--soft_targets"))
        shown = {**vars(start), **vars(finetune), **vars(training)}
        assert {name: shown[name] for name in params if "." not in name} == {
            name: value for name, value in params.items() if "." not in name
        }


def test_the_recipe_is_first_and_what_is_drawn_lands_in_the_options():
    first = searching()
    params, _ = first.propose()
    assert params == OWN and first.options(params) == RECIPE  # to the letter: no default is written out
    exact = searching(recipe={**RECIPE, "dropout": 0.123456})
    assert exact.propose()[0]["dropout"] == 0.123456
    drawn, _ = searching([row(0, 0.1)]).propose()
    assert set(drawn) == set(OWN) and drawn != OWN
    assert 1e-4 <= drawn["learning_rate"] <= 0.01 and drawn["learning_rate"] == float(
        f"{drawn['learning_rate']:.3g}"
    )
    assert isinstance(drawn["max_history"], int) and drawn["token_budget"] in (512, 1024, 2048)
    changed = first.options({**OWN, f"tasks.{MORE}": 0, f"soft_targets.{NEXT}": 0.7, "max_history": 30})
    assert changed == {**RECIPE, "tasks": {NEXT: 1, MORE: 0}, "soft_targets": {NEXT: 0.7}, "max_history": 30}
    assert RECIPE["tasks"] == {NEXT: 1, MORE: 4}
    said = searching(recipe={**RECIPE, "tasks": f"{NEXT}=1,sequential=4"})  # words, and a family's rate
    assert said.options({**OWN, f"tasks.{MORE}": 8})["tasks"] == {NEXT: 1, "sequential": 4, MORE: 8}


@pytest.mark.parametrize(
    ("name", "place", "told"),
    [
        ("learning_speed", [1, 2], "learning_speed is no option"),
        ("tasks", [1, 2], "with a task"),
        ("tasks.sequential", [1, 2], "is no option"),
        ("dropout.rating/score", [1, 2], "is no option"),
        ("seed", [0, 1], "settled by the search"),
        (f"loss_weights.{NEXT}", [1, 2], "the recipe has no loss_weights"),
        ("dropout", {"low": 0.2, "high": 0.3}, r"the recipe's value, 0.1, is outside"),
        ("token_budget", [512, 2048], "the recipe's value, 1024, is outside"),
        ("dropout", {"low": 0.3, "high": 0.1}, "low must be below high"),
        ("dropout", {"low": 0, "high": 0.1, "log": True}, "with log, above 0"),
        ("dropout", {"low": 0, "high": 0.1, "step": 2}, "a list of two or more"),
        ("dropout", 0.2, "a list of two or more"),
        ("dropout", {"low": 0, "high": "much"}, "must be numbers"),
        ("max_history", {"low": 0.5, "high": 40}, "whole numbers"),
    ],
)
def test_a_space_that_means_nothing_is_refused(name, place, told):
    with pytest.raises(UserError, match=told):
        searching(space={name: place})


def test_pruned_is_what_is_below_the_median_after_half_of_the_validations():
    five = [
        row(number, 0.5, [0.1, 0.1 * number, 0.5, 0.5]) for number in range(5)
    ]  # median of the second: .2
    _, prune = searching(five).propose()
    assert not prune([0.0])  # too early
    assert prune([0.0, 0.19])
    assert not searching(five).propose()[1]([0.0, 0.21])
    assert not searching(five).propose()[1]([0.0, 0.0, 0.0, 0.0])  # at its end anyhow
    assert not searching(five[:4]).propose()[1]([0.0, 0.0])
    worse = searching(five, metric="rmse").propose()[1]
    assert worse([0.3, 0.3])
    unknown = {name: value for name, value in RECIPE.items() if name != "evaluations"}
    assert not searching(five, recipe=unknown).propose()[1]([0.0, 0.0])


def fake(options, arguments, folder, prune) -> dict:
    """A training whose value is a function of its options; where dropout is high it fails, where low it is pruned."""
    folder.mkdir(parents=True)
    drawn = options.get("max_history", 20)
    found = {"metrics": None, "validations": [], "steps": 5, "value": None, "error": None}
    if drawn > 35:
        return {**found, "state": "failed", "error": "the loss is not finite"}
    value = 0.1 - abs(options["dropout"] - 0.2) / 7
    if drawn < 10:
        return {**found, "state": "pruned", "value": value, "validations": [value, value]}
    return {
        **found,
        "state": "complete",
        "value": value,
        "validations": [value] * 4,
        "metrics": {"ndcg@10": value},
    }


def lines(tmp_path: Path, monkeypatch, *stops: int) -> list[dict]:
    """Of a search that was stopped after so many trials, each time to be gone on with from its file."""
    monkeypatch.setattr(search, "train", fake)
    for trials in stops:
        given = arguments(tmp_path, trials=trials)
        with search.alone(given):
            search.run(searching(search.read(given.out, {"seed": 3})), {"seed": 3}, given)
    return [json.loads(line) for line in given.out.read_text().splitlines()]


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not(tmp_path, monkeypatch):
    whole = lines(tmp_path / "whole", monkeypatch, 16)
    parts = lines(tmp_path / "parts", monkeypatch, 1, 9, 10, 16)
    for line in [*whole, *parts]:
        line.pop("seconds", None)
    assert parts == whole and whole[0] == {"identity": {"seed": 3}}
    trials = whole[1:]
    assert [line["trial"] for line in trials] == list(range(16)) and trials[0]["params"] == OWN
    assert {line["state"] for line in trials} == {"complete", "pruned", "failed"}
    failed = next(line for line in trials if line["state"] == "failed")
    assert failed["value"] is None and failed["error"] == "the loss is not finite"
    assert len({json.dumps(line["params"]) for line in trials}) == 16
    best = max((line for line in trials if line["state"] == "complete"), key=lambda line: line["value"])
    kept = sorted(path.name for path in (tmp_path / "parts" / "work").iterdir())
    assert kept == [".gitignore", f"s-{best['trial']:04d}", "s.lock"]


def test_a_file_of_another_search_is_refused(tmp_path):
    out = tmp_path / "s.jsonl"
    was = {"seed": 0, "space": {"dropout": [0, 1]}, "trial_minutes": 6.0}
    assert search.read(out, was) == []
    out.write_text(json.dumps({"identity": was}) + "\n" + json.dumps(row(0, 0.5)) + "\n")
    assert search.read(out, was) == [row(0, 0.5)]
    with pytest.raises(UserError, match=r"another trial_minutes \(6.0, not 5.0\); choose"):
        search.read(out, {**was, "trial_minutes": 5.0})
    with pytest.raises(UserError, match="another space, recipe"):
        search.read(out, {**was, "space": {"dropout": [0, 2]}, "recipe": {}})
    out.write_text("trial,value\n")
    with pytest.raises(UserError, match="not the file of a search"):
        search.read(out, was)


def test_a_search_ends_with_its_minutes_or_where_nothing_works(tmp_path, monkeypatch):
    given = arguments(tmp_path, trials=0, minutes=1.0)
    monkeypatch.setattr(search, "train", fake)
    with search.alone(given):
        one = searching()
        search.run(one, {}, given)
        assert len(one.rows) == 1  # the second would end after the minute
        with pytest.raises(UserError, match="another process"), search.alone(given):
            pass

    def broken(*given):
        return {"state": "failed", "error": "no disk", "value": None, "validations": [], "steps": 0}

    monkeypatch.setattr(search, "train", broken)
    given.minutes = 60.0
    with pytest.raises(UserError, match="5 trials in a row failed, the last one with: no disk"):
        search.run(one, {}, given)
    assert len(one.rows) == 6
    given.out.unlink()
    with pytest.raises(UserError, match="the recipe itself can't be trained: no disk"):
        search.run(searching(), {}, given)
    assert not given.out.exists()


PYTHON = sys.executable
COMMAND = """#!{python}
import json, os, sys, time
given = dict(zip(sys.argv[4::2], sys.argv[5::2]))
open({pid!r}, "w").write(str(os.getpid()))
os.makedirs(given["--out"])
assert given["--config"].endswith("recipe.yaml") and given["--metric"] == "ndcg@10" and given["--max_minutes"] == "1.0"
write = lambda name, line: print(json.dumps(line), file=open(os.path.join(given["--out"], name), "a"))
for step, value in ((10, 0.1), (20, 0.3)):
    write("metrics.jsonl", {{"step": step, "validation": {{"ndcg@10": value, "rmse": 1.0}}}})
{rest}
"""
DONE = 'write("p5t5.json", {"stages": [{"best": {"metrics": {"ndcg@10": VALUE, "rmse": 1.0}}}]})'


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Puts a quick program in the place of `p5t5 finetune`."""

    def put(rest: str) -> Path:
        path, pid = tmp_path / "python", tmp_path / "pid"
        path.write_text(COMMAND.format(python=PYTHON, pid=str(pid), rest=rest))
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        monkeypatch.setattr(search, "POLL", 0.02)
        return pid

    return put


def trained(tmp_path, prune=lambda seen: False) -> dict:
    return search.train(RECIPE, arguments(tmp_path), tmp_path / "trial", prune)


def test_what_a_training_leaves_is_read(tmp_path, command):
    command(DONE.replace("VALUE", "0.25"))
    assert trained(tmp_path) == {"state": "complete", "value": 0.25, "metrics": {"ndcg@10": 0.25, "rmse": 1.0},
                                 "validations": [0.1, 0.3], "steps": 20, "error": None}  # fmt: skip
    command(DONE.replace("VALUE", "float('nan')"))
    assert (trained(tmp_path)["state"], trained(tmp_path)["error"]) == ("failed", "its ndcg@10 is nan")
    command("sys.exit('p5t5 finetune: the loss is not finite')")
    found = trained(tmp_path)
    assert (found["state"], found["value"], found["error"]) == (
        "failed",
        None,
        "p5t5 finetune: the loss is not finite",
    )
    command("os.kill(os.getpid(), 9)")
    assert trained(tmp_path)["error"] == "killed by signal 9"


def test_a_training_that_is_pruned_or_interrupted_is_ended(tmp_path, command):
    pid = command("time.sleep(60)")
    found = trained(tmp_path, lambda seen: seen == [0.1, 0.3])
    assert (found["state"], found["value"], found["metrics"]) == ("pruned", 0.3, None)

    def interrupt(seen):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_without_optuna_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'p5t5\[compare\]'"):
        searching().propose()


def test_the_table_and_the_lines_of_a_recipe():
    found = searching(
        [row(0, 0.1), row(1, 0.2, dropout=0.15, **{f"soft_targets.{NEXT}": 0.7}), row(2, 0.3, state="pruned")]
    )
    assert search.table(found).splitlines()[2:] == [
        "| 1 | 0.2000 | 9 | 0.0007 | 0.15 | 1024 | 20 | 4 | 0.7 |",
        "| 0, the recipe | 0.1000 | 9 | 0.0007 | 0.1 | 1024 | 20 | 4 | 0.5 |",
        "",
        "3 trials: 2 complete, 1 pruned, 0 failed",
    ]  # fmt: skip
    assert search.difference(found) == f"dropout: 0.15\nsoft_targets:\n  {NEXT}: 0.7\n"
    assert search.difference(searching([row(0, 0.1)])) == ""


def test_the_command_itself(tmp_path, monkeypatch, capsys):
    simulate(users=40, items=60).records.write(tmp_path / "data")
    (tmp_path / "r.yaml").write_text(f"tasks: {{{NEXT}: 1}}\nvocabulary_size: 400\nevaluations: 2\n")
    (tmp_path / "s.yaml").write_text("learning_rate: {low: 1e-4, high: 1e-2, log: true}")
    words = f"--data {tmp_path}/data --recipe {tmp_path}/r.yaml --space {tmp_path}/s.yaml --out {tmp_path}/s.jsonl"
    monkeypatch.setattr(
        sys, "argv", ["search.py", *words.split(), *["--trials", "1", "--trial_minutes", "0.02"]]
    )
    monkeypatch.setattr(search, "POLL", 0.1)
    search.main()
    identity, first = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert identity["identity"]["recipe"]["vocabulary_size"] == 400 and first["params"] == {
        "learning_rate": 7e-4
    }
    assert (
        first["state"] == "complete" and first["value"] == first["metrics"]["ndcg@10"] and first["steps"] > 0
    )
    told = capsys.readouterr().out
    assert told.startswith(
        "trial 0, 120 minutes left, best so far none: the recipe\ntrial 0: complete, ndcg@10 "
    )
    assert told.endswith("Nothing was better than the recipe.\n")
    assert (tmp_path / "s.work" / "s-0000" / "model" / "p5t5.json").is_file()
    monkeypatch.setattr(sys, "argv", [*sys.argv[:-1], "0.03"])
    with pytest.raises(SystemExit):
        search.main()
    assert "another trial_minutes (0.02, not 0.03)" in capsys.readouterr().err

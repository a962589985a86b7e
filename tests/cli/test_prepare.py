"""The command ``p5t5 prepare``: what it writes, what it says, how it fails."""

from __future__ import annotations

import json

import pytest

from p5t5.cli.prepare import main
from p5t5.core.errors import UserError
from p5t5.data.build import SOURCES, prepare
from p5t5.data.records.loading import load, load_records


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return (code, *capsys.readouterr())


def ratings(folder):
    rows = [f"u{n % 6},i{n * n % 7},{n % 5 + 1},{n}" for n in range(60)]
    (folder / "r.csv").write_text("\n".join(["who,what,rating,timestamp", *rows]) + "\nu0,i0,,3\n")
    return folder / "r.csv"


def test_table_end_to_end(tmp_path, capsys):
    path = ratings(tmp_path)
    mapping = ("--columns", "user_id=who", "item_id=what")
    code, out, err = run(capsys, "table", path, *mapping, "--out", tmp_path / "data")
    assert (code, err) == (0, "")
    assert "6 users, 4 items, 60 interactions" in out
    assert "dropped: 1 row (rating missing); first r.csv, line 62, column rating: ''" in out
    assert "tasks: rating/score" in out and "off: explanation/explain" in out
    assert "no column explanation" in out and "the items have no titles" in out
    assert len(load(tmp_path / "data")) == 60
    facts = json.loads((tmp_path / "data" / "prepare.json").read_text())
    assert facts["dropped"] == {"rating missing": 1} and facts["source"] == "tables r.csv"
    assert "user_id = who (named), item_id = what (named), rating = rating (by its name)" in out
    assert "report.html" in out and "who (named)" in (tmp_path / "data" / "report.html").read_text()


def test_simulated_has_all_families_and_is_repeatable(tmp_path, capsys):
    hashes = []
    for name in ("a", "b"):
        code, out, _ = run(capsys, "simulated", "--users", 30, "--out", tmp_path / name)
        assert code == 0 and "off:" not in out
        for task in (
            "rating/score",
            "sequential/next_item",
            "explanation/explain",
            "review/headline",
            "direct/choose",
        ):
            assert task in out
        hashes.append(load(tmp_path / name).hash)
    assert hashes[0] == hashes[1]


def test_k_core_and_sample(tmp_path, capsys):
    arguments = ("simulated", "--users", 60, "--sample-users", 40, "--k-core", 3, "--out", tmp_path / "data")
    code, out, _ = run(capsys, *arguments)
    assert code == 0 and "40 of 60 users drawn with seed 0" in out and "3-core: " in out
    records = load_records(tmp_path / "data")
    assert records.interactions["user_id"].nunique() <= 40
    assert records.interactions["item_id"].value_counts().min() >= 3
    assert set(records.items["item_id"]) == set(records.interactions["item_id"])
    assert len(records.info["steps"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "{dir}/gone.csv", "--out", "{dir}/data"], "there is no file"),
        (["table", "{dir}/r.csv", "--user", "whom", "--out", "{dir}/data"], "no column whom (--user)"),
        (
            ["table", "{dir}/r.csv", "--rating", "what", "--out", "{dir}/data"],
            "column what looks like the ratings, but they cannot be read: 'i",
        ),
        (["table", "{dir}/r.csv", "--columns", "user_id", "--out", "{dir}/data"], "not OURS=THEIRS"),
        (["sequences", "--raw", "{dir}", "--out", "{dir}/data"], "has no sequences.txt"),
        (["ml-100k", "--raw", "{dir}/r.csv", "--out", "{dir}/data"], "neither a folder nor a zip"),
        (["amazon", "--raw", "{dir}", "--out", "{dir}/data"], "no file named reviews"),
        (["simulated", "--users", "1", "--out", "{dir}/data"], "--users must be at least 8"),
        (["simulated", "--k-core", "999", "--out", "{dir}/data"], "--core 999: no user and item are left"),
        (["simulated", "--k-core", "-1", "--out", "{dir}/data"], "--core must be 0 or more"),
        (["simulated", "--out", "{dir}/r.csv"], "is a file"),
        (["simulated", "--out", "{dir}"], "holds other files"),
        (["simulated", "--out", "{dir}/r.csv/below"], "cannot be written"),
        (["simulated"], "--out"),
        (["films"], "there is no source 'films'; there are ml-100k"),
        ([], "name a SOURCE first"),
    ],
)
def test_mistakes_get_one_line_and_code_2(tmp_path, capsys, arguments, message):
    ratings(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = run(capsys, *[argument.format(dir=tmp_path) for argument in arguments])
    assert code == 2 and out == ""
    assert err.startswith("p5t5 prepare: ") and err.count("\n") == 1 and message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before  # nothing half-written


@pytest.mark.parametrize("source", [None, *SOURCES])
def test_help_shows_an_example(capsys, source):
    with pytest.raises(SystemExit) as stop:
        main(["--help"] if source is None else [source, "--help"])
    assert stop.value.code == 0
    assert SOURCES[source or "ml-100k"].example in capsys.readouterr().out


def test_by_command_by_recipe_and_from_python_the_same(tmp_path, capsys):
    path = ratings(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"raw: [{path}]\nuser: who\nitem: what\nall_items: true\n")
    assert run(capsys, "table", path, "--user", "who", "--item", "what", "--out", tmp_path / "a")[0] == 0
    assert run(capsys, "table", "--config", recipe, "--out", tmp_path / "b")[0] == 0
    prepared = prepare("table", path, user="who", item="what", out=tmp_path / "c")
    assert prepared.counts == {"users": 6, "items": 4, "interactions": 60}
    assert "ratings: 1 to 5, 5 different values" in prepared.notes
    assert {load(tmp_path / name).hash for name in "abc"} == {prepared.data.hash}
    with pytest.raises(UserError, match=r"no option itms\. Did you mean items"):
        prepare("table", path, itms="x", out=tmp_path / "d")
    with pytest.raises(UserError, match="no source 'tabel'; there are ml-100k, "):
        prepare("tabel", path, out=tmp_path / "d")


def test_finished_folders_are_safe(tmp_path, capsys):
    arguments = ("simulated", "--users", 30, "--out", tmp_path / "data")
    assert run(capsys, *arguments)[0] == 0
    before = load(tmp_path / "data").hash
    code, _, err = run(capsys, *arguments, "--seed", 1)
    assert code == 2 and "holds a data folder already" in err and "--overwrite" in err
    assert load(tmp_path / "data").hash == before
    assert run(capsys, *arguments, "--seed", 1, "--overwrite")[0] == 0
    assert load(tmp_path / "data").hash != before
    (tmp_path / "data" / "p5t5.json").write_text("{}")
    code, _, err = run(capsys, *arguments, "--overwrite")
    assert code == 2 and "holds a model" in err


def test_explanations_from_attributes_can_be_left_out(tmp_path, capsys):
    rows = [f"u{n % 6},i{n * n % 7},{n % 5 + 1},{n}" for n in range(60)]
    (tmp_path / "r.csv").write_text("\n".join(["user_id,item_id,rating,timestamp", *rows]) + "\n")
    items = [f"i{n},film {n},{('comedy', 'drama')[n % 2]}" for n in range(7)]
    (tmp_path / "i.csv").write_text("\n".join(["item_id,title,genre", *items]) + "\n")
    command = ("table", tmp_path / "r.csv", "--items", tmp_path / "i.csv", "--out")
    code, out, _ = run(capsys, *command, tmp_path / "with")
    assert code == 0 and load(tmp_path / "with").has("explanation") and "attributes" in out
    code, out, _ = run(capsys, *command, tmp_path / "without", "--attribute_explanations", "false")
    assert code == 0 and not load(tmp_path / "without").has("explanation")


def test_sequences_of_any_file_name(tmp_path, capsys):
    lines = [f"u{user} " + " ".join(f"i{(user + step) % 9}" for step in range(4)) for user in range(12)]
    (tmp_path / "visits.dat").write_text("\n".join(lines) + "\n")
    (tmp_path / "things.csv").write_text("item_id,title\n" + "".join(f"i{n},Thing {n}\n" for n in range(9)))
    command = (
        "sequences",
        tmp_path / "visits.dat",
        "--items",
        tmp_path / "things.csv",
        "--out",
        tmp_path / "data",
    )
    code, out, err = run(capsys, *command)
    assert (code, err) == (0, "") and "visits: 12 users, 9 items, 48 interactions" in out
    assert "next: p5t5 finetune --data" in out
    assert load(tmp_path / "data").titles[0].startswith("Thing ")
    (tmp_path / "things.csv").write_text("item_id,title\nx1,Thing\n")
    code, _, err = run(capsys, *command, "--overwrite")
    assert code == 2 and "none of its items is in the item table" in err


def test_data_that_cannot_be_trained_on_are_named(tmp_path, capsys):
    (tmp_path / "r.csv").write_text("user,item,rating,time\na,x,5,1\na,y,4,2\nb,x,3,3\nb,y,1,4\n")
    code, out, _ = run(capsys, "table", tmp_path / "r.csv", "--out", tmp_path / "data")
    assert code == 0 and out.splitlines()[-1].startswith(
        "these data cannot be trained on: no user has 3 interactions"
    )
    assert "next:" not in out

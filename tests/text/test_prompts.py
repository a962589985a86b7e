"""Our prompts pass their lint, and the lint finds every fault it is there for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT

from p5t5.core.errors import UserError
from p5t5.tasks.registry import FAMILIES, TASKS
from p5t5.text.prompts import Prompt, dump_prompts, lint, load_prompts, packaged_folder

TITLE_SLOTS = {"title", "history_titles", "rated_titles"}
PROMPTS = load_prompts()


def prompt(**changes) -> Prompt:
    fields = {"id": "p-1", "task": "rating/score", "input": "{user} on {item}", "target": "{rating}"}
    return Prompt(**{"held_out": True, "source": "mine.yaml", **fields, **changes})


def words_of(each: Prompt) -> set[str]:
    """What the input is made of, names of slots included, order and marks aside."""
    words = (word.strip(".,:?").lower() for _, text in Prompt.pieces(each.input) for word in text.split())
    return {word for word in words if word}


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_ours_pass_the_lint():
    lint(PROMPTS)


def test_there_are_as_many_as_p5_has():
    counts = Counter(each.family for each in PROMPTS)
    least = {"rating": 10, "sequential": 13, "explanation": 12, "review": 4, "direct": 8}
    assert {family: counts[family] >= least[family] for family in FAMILIES} == dict.fromkeys(FAMILIES, True)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_wordings_enough_even_without_titles(task):
    mine = [each for each in PROMPTS if each.task == task]
    plain = [each for each in mine if not TITLE_SLOTS & set(each.slots)]
    assert sum(not each.held_out for each in mine) >= 2
    assert {each.held_out for each in plain} == {True, False}, "data without titles need both"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_asked_in_many_words(task):
    """A model from scratch takes the words of three wordings as keys; from nine it reads what is asked."""
    mine = [each for each in PROMPTS if each.task == task and not each.held_out]
    words = Counter(frozenset(words_of(each)) for each in mine)
    assert len(mine) >= 9
    assert set(words.values()) == {1}, "the same words in another order are no new wording"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_speak_in_titles_and_without_a_user(family):
    seen = [set(each.slots) for each in PROMPTS if each.family == family and not each.held_out]
    assert any(slots & TITLE_SLOTS for slots in seen)
    assert any("user" not in slots for slots in seen), "a history given by hand has no user"


def test_held_out_wordings_are_no_near_copies():
    for held_out in (each for each in PROMPTS if each.held_out):
        for seen in (each for each in PROMPTS if each.task == held_out.task and not each.held_out):
            first, second = words_of(held_out), words_of(seen)
            assert len(first & second) / len(first | second) < 0.5, (held_out.id, seen.id)


def test_next_item_prompts_are_terse():
    for each in PROMPTS:
        if each.task == "sequential/next_item" and not each.held_out:
            assert len(each.input.split()) <= 14, each.id


def test_pieces_join_to_the_collapsed_template():
    text = "  how  many\n stars , {user} ? {item} "
    pieces = Prompt.pieces(text)
    assert pieces == [("text", "how many stars ,"), ("slot", "user"), ("text", "?"), ("slot", "item")]


def test_dump_and_load_agree(tmp_path):
    path = tmp_path / "prompts.yaml"
    dump_prompts(PROMPTS, path)
    assert load_prompts(path) == PROMPTS
    assert [each.name for each in tmp_path.iterdir()] == ["prompts.yaml"]


def test_files_folders_and_lists_load(tmp_path):
    files = sorted(packaged_folder().glob("*.yaml"))
    assert load_prompts(files) == load_prompts(packaged_folder()) == load_prompts(str(packaged_folder()))
    with pytest.raises(UserError, match="no prompt files"):
        load_prompts(tmp_path)
    with pytest.raises(UserError, match="no such prompt file"):
        load_prompts(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "rating/guess"}, "unknown task 'rating/guess'"),
        ({"input": "{user} on {film}"}, r"no slot \{film\}; it has user, item"),
        ({"input": "{user} on {item}."}, r"input needs a space on both sides of \{item\}"),
        ({"input": "{user}{item}"}, "needs a space"),
        ({"input": "{user} on {item.__class__} "}, "holds a brace"),
        ({"input": "{user} on {Item}"}, "holds a brace"),
        ({"input": "{user} on {item!r}"}, "holds a brace"),
        ({"input": "{user} } {item}"}, "holds a brace"),
        ({"input": "</s> {user} {item}"}, "control token"),
        ({"input": "▁a {user} {item}"}, "control token"),
        ({"input": "½ {user}"}, "NFKC"),
        ({"input": "a\x07 {user}"}, "unprintable"),
        ({"input": "{user} {rating}"}, "which is the answer"),
        ({"target": "{user}"}, "part of the question"),
        ({"target": "{rating} stars"}, r"target must be exactly '\{rating\}'"),
        ({"target": "{rating} {rating}"}, "target must be exactly"),
        (
            {"task": "explanation/rate_and_explain", "target": "{explanation} {rating}"},
            r"must be exactly '\{rating\} \{explanation\}'",
        ),
        ({"input": "how many stars ?"}, "no slot"),
        ({"held_out": False}, "no prompt of the family rating is held out"),
    ],
)
def test_lint_finds(changes, message):
    with pytest.raises(UserError, match=message) as error:
        lint([prompt(**changes)])
    if "held_out" not in changes:
        assert "mine.yaml" in str(error.value) and "p-1" in str(error.value)


def test_lint_accepts_a_good_prompt():
    lint([prompt()])


def test_an_id_used_twice_names_both_files(tmp_path):
    row = yaml.safe_dump([{"id": "same", "task": "t", "input": "a", "target": "b"}])
    write(tmp_path, row, "one.yaml")
    write(tmp_path, row, "two.yaml")
    with pytest.raises(
        UserError, match=r"two.yaml, prompt 'same': the id is used twice \(first in one.yaml\)"
    ):
        load_prompts(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- id: x\n  task: rating/score\n  input: {user}\n  target: '{rating}'", "input must be text"),
        ("- id: 3\n  task: rating/score\n  input: a\n  target: b", "id must be text"),
        ("- id: x\n  task: rating/score\n  input: a\n  target: yes", "target must be text"),
        ("- id: x\n  task: rating/score\n  input: user : {x}\n  target: b", "not readable as YAML"),
        ("- id: x\n  task: rating/score\n  input: a", "target must be text"),
        ("- id: x\n  task: a\n  input: a\n  target: b\n  held-out: true", "unknown key 'held-out'"),
        ("- id: x\n  task: a\n  input: a\n  target: b\n  held_out: 'no'", "true or false"),
        ("- id: x\n  task: a\n  input: a\n  target: b\n  rate: 0", "rate must be a number above 0"),
        ("- id: x\n  task: a\n  input: a\n  target: b\n  rate: true", "rate must be a number above 0"),
        ("id: x", "must be a list"),
        ("", "must be a list"),
        ("- just text", "must be a mapping"),
        ("- !!python/object/apply:os.getcwd []", "not readable as YAML"),
    ],
)
def test_loading_names_what_is_wrong(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as error:
        load_prompts(write(tmp_path, text))
    assert "mine.yaml" in str(error.value)


def test_the_questions_are_sixty_and_not_taken_from_the_prompts():
    questions = yaml.safe_load((ROOT / "tests/questions/questions.yaml").read_text(encoding="utf-8"))
    assert Counter(each["family"] for each in questions) == dict.fromkeys(FAMILIES, 12)
    assert all(each["task"] in TASKS and TASKS[each["task"]].family == each["family"] for each in questions)
    literals = [text for each in PROMPTS for kind, text in Prompt.pieces(each.input) if kind == "text"]
    long = [text.lower() for text in literals if len(text.split()) > 4]
    assert not [(each["text"], text) for each in questions for text in long if text in each["text"].lower()]

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_data import TITLES, hostile, small_split

from p5t5.core.ragged import Ragged
from p5t5.data.records.cleaning import clean_text
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.identifiers.base import Identifiers
from p5t5.identifiers.methods import METHODS, fit_identifiers
from p5t5.tasks.base import (
    ITEM,
    POOLS,
    RATING,
    SEMICOLON,
    TEXT,
    TITLE,
    USER,
    WORD,
    WORDS,
    YES,
    BuildOptions,
    Column,
    Examples,
)
from p5t5.tasks.registry import TASKS
from p5t5.text import augmentation as rewording
from p5t5.text import rendering
from p5t5.text.mixture import make_mixture
from p5t5.text.pretraining_corpus import training_texts
from p5t5.text.prompts import Prompt, load_prompts
from p5t5.text.rendering import Renderer, names_of, render_mixture
from p5t5.text.tokenizer import identifier_ids, train_tokenizer
from p5t5.training.batching import fingerprint

USERS = fit_identifiers("atomic", small_split(), "user")
DEEP = Identifiers(
    "x", "item", np.array([[place // 4, place % 4, -1 if place % 3 else 0] for place in range(12)]), (3, 4, 1)
)
CLEAN = [clean_text(title) for title in TITLES]
NAMES = names_of(USERS.spellings(), DEEP.spellings(), CLEAN, np.array([1, 2, 3.5, 5], np.float32))
PROMPTS = [
    Prompt("p-0", "t/t", "Rate {item} for {user} , please :", "{answer}"),
    Prompt("p-1", "t/t", "{history} then  what ?", "it is {answer} and {more} !"),
    Prompt("p-2", "t/t", "about {text}\nand {history}", "{more}"),
    Prompt("p-3", "t/t", "no slot at all", "fixed words"),
]


@pytest.fixture(scope="module")
def renderer():
    texts = [
        *CLEAN * 20,
        "Rate for please then what ? about and it is no slot at all fixed words",
        *WORDS,
    ] * 5
    tokenizer = train_tokenizer(texts, USERS.pieces() + DEEP.pieces(), size=420)
    return Renderer(tokenizer, NAMES, PROMPTS)


def column(*rows):
    """Rows of (pool, index) pairs."""
    flat = [pair for row in rows for pair in row]
    lengths = np.array([len(row) for row in rows])
    pools = np.array([pool for pool, _ in flat], np.uint8)
    return Column(Ragged.from_lengths(np.array([i for _, i in flat], np.int32), lengths), pools)


def examples(columns, texts=()):
    n = len(next(iter(columns.values())).elements)
    return Examples("t/t", np.arange(n), columns, texts)


def strings(column, row, texts):
    """The slow twin's look-up: the strings of one row of elements."""
    start, end = column.elements.offsets[row : row + 2]
    out = []
    for pool, index in zip(
        column.pools[start:end].tolist(), column.elements.values[start:end].tolist(), strict=True
    ):
        out.append(texts[index] if pool == TEXT else WORDS[index] if pool == WORD else NAMES[pool][index])
    return out


SIZES = {USER: 9, ITEM: 12, TITLE: 12, RATING: 4, WORD: len(WORDS)}


@st.composite
def any_examples(draw):
    texts = [clean_text(text) for text in draw(st.lists(hostile, min_size=1, max_size=4))]
    sizes = {**SIZES, TEXT: len(texts)}
    element = st.sampled_from(range(len(POOLS))).flatmap(
        lambda p: st.integers(0, sizes[p] - 1).map(lambda i: (p, i))
    )
    n = draw(st.integers(1, 5))
    row = st.lists(element, max_size=5)
    slots = ("item", "user", "history", "text", "answer", "more")
    columns = {name: column(*draw(st.lists(row, min_size=n, max_size=n))) for name in slots}
    choice = draw(st.lists(st.integers(0, len(PROMPTS) - 1), min_size=n, max_size=n))
    return examples(columns, texts), np.array(choice)


@settings(max_examples=100, deadline=None)
@given(any_examples())
def test_text_and_ids_agree(renderer, drawn):
    """The property that all else rests on: the trusted encoder makes our text into our ids."""
    example, choice = drawn
    encoded = renderer.encode(example, choice)
    for row, (question, answer) in enumerate(renderer.text(example, choice)):
        assert renderer.encode_text(question) == encoded.inputs[row].tolist()
        assert renderer.encode_text(answer) == encoded.targets[row].tolist()
    assert renderer.encode_inputs(example, choice).to_lists() == encoded.inputs.to_lists()


@settings(max_examples=40, deadline=None)
@given(any_examples())
def test_text_is_the_template_with_its_slots_filled(renderer, drawn):
    example, choice = drawn
    for row, (question, answer) in enumerate(renderer.text(example, choice)):
        prompt = PROMPTS[choice[row]]
        for template, text in ((prompt.input, question), (prompt.target, answer)):
            filled = []
            for kind, piece in Prompt.pieces(template):
                filled += [piece] if kind == "text" else strings(example.columns[piece], row, example.texts)
            assert text == " ".join(part for part in filled if part)


@settings(max_examples=40, deadline=None)
@given(any_examples())
def test_weights_and_units_equal_the_plain_twin(renderer, drawn):
    example, choice = drawn
    weight = np.linspace(0.5, 2, len(choice))
    encoded = renderer.encode(example, choice, weight)
    for row, prompt in enumerate(choice):
        units: list[int] = []  # tokens of each unit
        before = 0
        for kind, piece in Prompt.pieces(PROMPTS[prompt].target):
            for string in [piece] if kind == "text" else strings(example.columns[piece], row, example.texts):
                tokens = len(renderer.encode_text(string)) - 1
                if kind == "slot" and tokens:
                    units.append(tokens)
                elif units:
                    units[-1] += tokens
                else:
                    before += tokens
        units = units or [0]
        units[0] += before
        units[-1] += 1
        wanted = [weight[row] / size for size in units for _ in range(size)]
        start, end = encoded.targets.offsets[row : row + 2]
        assert encoded.units[row] == len(units)
        assert encoded.weights[start:end] == pytest.approx(wanted)


def test_a_hand_made_example(renderer):
    example = examples(
        {
            "item": column([(ITEM, 4)]),
            "user": column([(USER, 7)]),
            "answer": column([(WORD, YES)]),
            "history": column([(TITLE, 0), (WORD, SEMICOLON), (TITLE, 10), (RATING, 2)]),
            "more": column([(ITEM, 0), (ITEM, 5)]),
            "text": column([(TEXT, 1)]),
        },
        ["", "so good"],
    )
    texts = [renderer.text(example, np.array([prompt]))[0] for prompt in range(4)]
    assert texts[0] == ("Rate <item_a1> <item_b0> for <user_7> , please :", "yes")
    assert texts[1] == (
        "Toy Story (1995) ; 3.5 then what ?",  # title 10 is empty and leaves nothing
        "it is yes and <item_a0> <item_b0> <item_c0> <item_a1> <item_b1> !",
    )
    assert texts[2][0] == "about so good and Toy Story (1995) ; 3.5"
    assert texts[3] == ("no slot at all", "fixed words")
    ids = renderer.encode_inputs(example, np.array([0]))[0].tolist()
    wanted = identifier_ids(renderer.tokenizer, ["<item_a1>", "<item_b0>", "<user_7>"]).tolist()
    assert [i for i in ids if i in wanted] == wanted and ids[-1] == renderer.eos == 1


def test_ten_items_count_ten_times_one_item(renderer):
    several = examples({"more": column([(ITEM, 0)] * 10, [(ITEM, 1)])})
    encoded = renderer.encode(
        examples({**several.columns, "text": column([], []), "history": column([], [])}),
        np.array([2, 2]),
        3.0,
    )
    assert encoded.units.tolist() == [10, 1]
    sums = np.add.reduceat(encoded.weights, encoded.targets.offsets[:-1])
    assert sums.tolist() == pytest.approx([30.0, 3.0])


def test_missing_slots_and_pools_are_named(renderer):
    example = examples({"answer": column([(WORD, YES)])})
    with pytest.raises(ValueError, match=r"prompt 'p-0' uses the slot 'item', which t/t does not fill"):
        renderer.encode(example, np.array([0]))
    bare = Renderer(renderer.tokenizer, {}, PROMPTS)
    with pytest.raises(ValueError, match="without names for the pool 'user'"):
        bare.encode_elements(column([(USER, 0)]))


def test_nothing_renders_to_nothing(renderer):
    none = examples({name: column() for name in ("item", "user", "answer")})
    encoded = renderer.encode(none, np.zeros(0, int))
    assert len(encoded) == 0 and renderer.text(none, np.zeros(0, int)) == []
    tokens, groups = renderer.encode_elements(column([], []))
    assert tokens.to_lists() == groups.to_lists() == [[], []]


def test_groups_hold_identifiers_together_and_other_tokens_apart(renderer):
    rows = column(
        [(USER, 1), (ITEM, 3), (ITEM, 1), (TEXT, 0)], [], [(TEXT, 1), (ITEM, 0), (TITLE, 10), (WORD, YES)]
    )
    texts = ["so good", ""]
    tokens, groups = renderer.encode_elements(rows, texts)
    words = len(renderer.encode_text("so good")) - 1
    assert groups[0].tolist() == [0, 1, 1, 1, 2, 2, *range(3, 3 + words)]
    assert groups[1].tolist() == []
    assert groups[2].tolist()[:4] == [0, 0, 0, 1]
    for row, text in enumerate(renderer.element_text(rows, texts)):
        assert renderer.encode_text(text)[:-1] == tokens[row].tolist()


def test_the_store_of_texts_starts_again_when_it_is_full(renderer, monkeypatch):
    monkeypatch.setattr(rendering, "MOST_TEXTS", 3)
    fresh = Renderer(renderer.tokenizer, NAMES, PROMPTS)
    for number in range(8):
        texts = [f"text {number}", f"other {number % 3}"]
        rows = column([(TEXT, 0), (TEXT, 1)], [(TEXT, 1)])
        tokens, _ = fresh.encode_elements(rows, texts)
        assert fresh.element_text(rows, texts) == [" ".join(texts), texts[1]]
        assert tokens[1].tolist() == fresh.encode_text(texts[1])[:-1]
        assert len(fresh._place_of_text) <= 3


@pytest.mark.parametrize("task", TASKS)
def test_every_task_and_prompt_renders_alike_in_text_and_ids(task):
    """The shipped prompts on simulated data with all columns, in all ways to name items."""
    split = leave_one_out(simulate(users=25, items=40, seed=1).data)
    data, prompts = split.data, [prompt for prompt in load_prompts() if prompt.task == task]
    users = fit_identifiers("atomic", split, "user")
    for method in METHODS:
        options = {"base": 7} if method in ("random", "sequential") else {}
        items = fit_identifiers(method, split, "item", **options)
        tokenizer = train_tokenizer(training_texts(split), items.pieces() + users.pieces(), 600)
        names = names_of(users.spellings(), items.spellings(), data.titles, data.rating_values)
        renderer = Renderer(tokenizer, names, prompts)
        rows = TASKS[task].eligible(split, "train")[:40]
        example = TASKS[task].build(split, rows, BuildOptions(candidates=5))
        choice = np.arange(len(rows)) % len(prompts)
        encoded = renderer.encode(example, choice)
        for row, (question, answer) in enumerate(renderer.text(example, choice)):
            assert renderer.encode_text(question) == encoded.inputs[row].tolist()
            assert renderer.encode_text(answer) == encoded.targets[row].tolist()
            assert question and answer and "{" not in question + answer


def test_a_mixture_comes_back_in_the_order_of_its_examples(renderer, monkeypatch):
    """Places are scattered over the tasks; prompts are matched by id, not by their place in a list."""
    monkeypatch.setattr(rewording, "SHARE", 0.0)
    first = examples({"item": column([(ITEM, 1)], [(ITEM, 2)]), "user": column([(USER, 0)], [(USER, 1)]),
                      "answer": column([(WORD, 0)], [(WORD, 1)])})  # fmt: skip
    second = examples(
        {"history": column([(ITEM, 3)]), "answer": column([(WORD, 2)]), "more": column([(ITEM, 4)])}
    )
    mixture = SimpleNamespace(
        prompts=[PROMPTS[1], PROMPTS[0]],
        loss_weights={"b": 2.0},
        size=3,
        seed=0,
        choose=lambda epoch: None,
        examples=lambda epoch, *block: [
            (SimpleNamespace(name="a"), first, np.array([1, 1]), np.array([2, 0])),
            (SimpleNamespace(name="b"), second, np.array([0]), np.array([1])),
        ],
    )
    encoded = render_mixture(renderer, mixture, 0)
    texts = [first, second, first]
    for place, (example, row, prompt) in enumerate(zip(texts, (1, 0, 0), (0, 1, 0), strict=True)):
        alone = renderer.text(example, np.full(len(example), prompt))[row]
        assert encoded.inputs[place].tolist() == renderer.encode_text(alone[0])
        assert encoded.targets[place].tolist() == renderer.encode_text(alone[1])
    assert np.add.reduceat(encoded.weights, encoded.targets.offsets[:-1]).tolist() == pytest.approx([1, 4, 1])


def test_an_epoch_in_blocks_on_disk_is_the_epoch(monkeypatch):
    split = leave_one_out(simulate(users=30, items=80, seed=2).data)
    prompts = load_prompts()
    pieces = fit_identifiers("atomic", split, "item"), fit_identifiers("atomic", split, "user")
    texts = list(training_texts(split))
    tokenizer = train_tokenizer(texts, [p for one in pieces for p in one.pieces()], size=500)
    names = names_of(
        pieces[1].spellings(), pieces[0].spellings(), split.data.titles, split.data.rating_values
    )
    made = Renderer(tokenizer, names, prompts)
    mixture, _ = make_mixture(split, prompts, seed=3, size=230)
    whole = render_mixture(made, mixture, 1)
    monkeypatch.setattr(rendering, "RENDERED", 50)
    blocks = render_mixture(made, mixture, 1)
    assert blocks.inputs.values.base is not None and len(blocks) == 230  # mapped
    for ours, theirs in ((blocks.inputs, whole.inputs), (blocks.targets, whole.targets)):
        assert np.array_equal(ours.values, theirs.values) and np.array_equal(ours.offsets, theirs.offsets)
        assert ours.values.dtype == theirs.values.dtype
    assert np.array_equal(blocks.weights, whole.weights) and np.array_equal(blocks.units, whole.units)
    assert fingerprint(blocks) == fingerprint(whole)
    assert (
        blocks.take(np.array([229, 3])).inputs.to_lists() == whole.take(np.array([229, 3])).inputs.to_lists()
    )

"""Training sees worse wordings now and then; whoever asks or measures sees the plain ones, always."""

from __future__ import annotations

import numpy as np
import pytest

from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.identifiers.methods import fit_identifiers
from p5t5.tasks.base import BuildOptions
from p5t5.text import augmentation as rewording
from p5t5.text import rendering
from p5t5.text.augmentation import SHARE, VARIANTS, augment, draw_augmentations
from p5t5.text.mixture import make_mixture, single
from p5t5.text.pretraining_corpus import training_texts
from p5t5.text.prompts import Prompt, load_prompts, seen_words
from p5t5.text.rendering import ALTERED, GAP, LITERAL, Renderer, names_of, render_mixture
from p5t5.text.tokenizer import train_tokenizer
from p5t5.training.batching import fingerprint

PROMPTS = load_prompts()
WORDS = seen_words(PROMPTS)


@pytest.fixture(scope="module")
def split():
    return leave_one_out(simulate(users=40, items=60, seed=2).data)


@pytest.fixture(scope="module")
def made(split):
    """(tokenizer, names): what a Renderer is made of, with the seen words whole, as a checkpoint has them."""
    pieces = fit_identifiers("atomic", split, "item"), fit_identifiers("atomic", split, "user")
    tokenizer = train_tokenizer(
        training_texts(split), [p for one in pieces for p in one.pieces()], size=500, whole=WORDS
    )
    data = split.data
    return tokenizer, names_of(pieces[1].spellings(), pieces[0].spellings(), data.titles, data.rating_values)


@pytest.fixture(scope="module")
def renderer(made):
    return Renderer(*made, PROMPTS)


@pytest.fixture(scope="module")
def mixture(split):
    return make_mixture(split, PROMPTS, seed=3, size=600)[0]


def test_draws_hang_on_seed_epoch_and_place_alone():
    places = np.arange(40_000)
    drawn = draw_augmentations(7, 2, places)
    assert np.array_equal(draw_augmentations(7, 2, places[::-1])[::-1], drawn)
    for other in (draw_augmentations(8, 2, places), draw_augmentations(7, 3, places)):
        assert np.mean(other == drawn) < 0.5
    plain = np.mean(drawn < 0)
    assert plain == pytest.approx(1 - SHARE, abs=0.02)
    counts = np.bincount(drawn[drawn >= 0], minlength=VARIANTS)
    assert len(counts) == VARIANTS and counts.min() > 0.7 * counts.mean()


def test_variants_are_the_same_ones_always_and_stray_ever_farther():
    literal = "recommend the next item to"
    many = augment(literal, WORDS)
    assert many == augment(literal, WORDS) and len(many) == VARIANTS
    kept = [len(set(literal.split()) & set(text.split())) for text in many]
    third = VARIANTS // 3
    assert np.mean(kept[:third]) > 3.5 > 1.5 > np.mean(kept[-third:])
    assert augment("", WORDS)[0:3].count("") >= 1 and any(augment("", WORDS)), "silence may be broken"
    assert augment("only this", ["?"]) != augment("only that", ["?"]), (
        "no words to draw from: they can still go"
    )


def test_no_word_comes_from_a_held_out_wording():
    held_out = Prompt("h", "t/t", "zzyzx {item}", "{item}", held_out=True)
    seen = Prompt("s", "t/t", "tell {item} , tell", "{item}")
    assert seen_words([held_out, seen]) == ["tell", ","]
    letters = {letter for text in augment("tell", seen_words([held_out, seen])) for letter in text}
    assert not letters & set("zyx")


def test_questions_are_asked_in_the_plain_wording_before_and_after(split, made, renderer, mixture):
    """Nothing that is asked or measured changes: text and ids agree in every seen and held-out wording."""
    fresh = Renderer(*made, PROMPTS)
    render_mixture(renderer, mixture, 0)  # knows variants from here on; the fresh one does not
    assert renderer._base[ALTERED] >= 0 > fresh._base[ALTERED]
    options = BuildOptions(seed=3)
    for task in mixture.tasks:
        for kind in ("seen", "held_out"):
            examples, index = single(split, task, PROMPTS, "validation", options, kind)
            ids = renderer.encode_inputs(examples, index)
            assert ids.to_lists() == fresh.encode_inputs(examples, index).to_lists()
            for row, (question, _) in enumerate(renderer.text(examples, index)):
                assert renderer.encode_text(question) == ids[row].tolist()


def test_an_epoch_equals_the_slow_twin(renderer, mixture):
    """Example by example: literals replaced by the strings of their variant, then tokenised."""
    number = {prompt.id: place for place, prompt in enumerate(PROMPTS)}
    order = np.array([number[prompt.id] for prompt in mixture.prompts])
    encoded = render_mixture(renderer, mixture, 1)
    variant = draw_augmentations(mixture.seed, 1, np.arange(mixture.size))
    changed = 0
    for _, examples, index, places in mixture.examples(1):
        plain, _ = renderer._lay_out(examples, order[index], 0)
        targets = renderer.encode(examples, order[index]).targets
        for row, place in enumerate(places.tolist()):
            words = []
            layout = renderer._layouts[order[index[row]]][0]
            literals = iter([piece for kind, piece in layout if kind == "text"])
            base = renderer._base[LITERAL]
            for element in plain[row].tolist()[:-1]:
                text = renderer._strings[element]
                if base + GAP <= element < base + renderer._alterable and variant[place] >= 0:
                    assert next(literals) == element - base
                    text = augment(text, WORDS)[variant[place]]
                words.append(text)
            ids = renderer.encode_text(" ".join(word for word in words if word))
            assert encoded.inputs[place].tolist() == ids
            assert encoded.targets[place].tolist() == targets[row].tolist(), "answers are never altered"
            changed += ids != renderer.encode_inputs(examples, order[index])[row].tolist()
    assert 0.3 * mixture.size < changed < SHARE * mixture.size * 1.2


def test_epochs_differ_and_come_back(made, renderer, mixture):
    first = fingerprint(render_mixture(renderer, mixture, 0))
    assert first == fingerprint(render_mixture(Renderer(*made, PROMPTS), mixture, 0)), (
        "as a resumed run would"
    )
    assert first != fingerprint(render_mixture(renderer, mixture, 1))


def test_texts_that_were_known_before_are_still_known(split, made, mixture):
    """The variants move in before the free texts, which are then read again."""
    renderer = Renderer(*made, PROMPTS)
    examples, index = single(split, "review/headline", PROMPTS, "validation", BuildOptions(), "seen")
    before = renderer.encode(examples, index)
    render_mixture(renderer, mixture, 0)
    after = renderer.encode(examples, index)
    assert before.inputs.to_lists() == after.inputs.to_lists()
    assert before.targets.to_lists() == after.targets.to_lists()


def test_an_epoch_is_at_most_a_fifth_longer(renderer, split, monkeypatch):
    mixture, _ = make_mixture(split, PROMPTS, {"sequential": 8, "rating": 5}, seed=0, size=3000)
    long = len(render_mixture(renderer, mixture, 0).inputs.values)
    monkeypatch.setattr(rewording, "SHARE", 0.0)
    plain = len(render_mixture(renderer, mixture, 0).inputs.values)
    assert plain < long < 1.2 * plain


def test_blocks_draw_as_the_whole_epoch_does(renderer, mixture, monkeypatch):
    whole = fingerprint(render_mixture(renderer, mixture, 2))
    monkeypatch.setattr(rendering, "RENDERED", 100)
    assert fingerprint(render_mixture(renderer, mixture, 2)) == whole

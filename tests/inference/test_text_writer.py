"""How text is decoded: what must be said is said, samples agree on an answer, and the choice is kept."""

from dataclasses import replace

import numpy as np
import pytest
from support.decoding_cases import EOS, MODELS, generate_text, layouts, prompts
from support.writing_cases import small_split, untrained

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.core.errors import UserError
from p5t5.decoding.text_generation import RequiredTokens, TextOptions, draw_texts, mbr_choice
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.evaluation.results import find
from p5t5.inference.answers import Answerer
from p5t5.inference.item_phrases import fit_item_ngrams
from p5t5.inference.predictor import Predictor
from p5t5.inference.request import PromptFacts
from p5t5.inference.text_decoding_search import (
    choose_text_options,
    preference,
    settings,
    store_text_options,
)
from p5t5.inference.text_writer import (
    ARTIFACT,
    NGRAMS_FILE,
    Writer,
    answers_of_other_tasks,
    describe_decoding,
    required_words,
    saved_item_ngrams,
    saved_options,
)
from p5t5.metrics.text import feature_match
from p5t5.text.mixture import single
from p5t5.workflows.selection import choose_text


def starts_of(size: int = 320) -> np.ndarray:
    """Even tokens begin a word."""
    return np.arange(size) % 2 == 0


@layouts
@pytest.mark.parametrize("more", [{}, {"sample": True, "samples": 3, "seed": 1}, {"wanted_bonus": 50.0}])
def test_what_is_wanted_is_said_once_and_no_word_goes_on(model, more):
    ids, mask = prompts(6, seed=2)
    lists = [[7], [], [30, 31], [9, 8, 11], [40, 41], [5]]
    texts = generate_text(
        model, ids, mask, max_new_tokens=9, wanted=RequiredTokens(lists, starts_of()), **more
    )
    for text, wanted in zip(texts, lists, strict=True):
        size = len(wanted)
        places = [at for at in range(len(text)) if text[at : at + size] == wanted]
        assert len(text) <= 9 and places
        after = places[0] + size
        assert not size or after == len(text) or starts_of()[text[after]]
    free = generate_text(model, ids, mask, max_new_tokens=9, **more)
    if "sample" not in more:
        assert texts[1] == free[1]  # where nothing is wanted, nothing changes
    if more.get("wanted_bonus"):
        assert [text[: len(own)] for text, own in zip(texts, lists, strict=True)] == lists


def test_where_the_end_would_come_the_wanted_word_comes():
    model = MODELS["untied"]
    weight = model.lm_head.weight.data
    kept = weight[EOS].clone()
    ids, mask = prompts(4, seed=5)
    try:
        weight[EOS] *= 6.0
        free = generate_text(model, ids, mask, max_new_tokens=12)
        ended = [row for row, text in enumerate(free) if len(text) < 12]
        wanted = RequiredTokens([[13, 15]] * 4, starts_of())
        texts = generate_text(model, ids, mask, max_new_tokens=12, wanted=wanted)
    finally:
        weight[EOS] = kept
    assert ended
    for row in ended:
        assert texts[row][: len(free[row])] == free[row]
        assert texts[row][len(free[row]) : len(free[row]) + 2] == [13, 15]


def test_the_consensus_by_hand():
    assert mbr_choice([[1, 2, 3], [9, 9], [1, 2, 4], [1, 2, 3, 4]]) == 3
    assert mbr_choice([[5], [6]]) == 0 and mbr_choice([[], [3, 4], [3, 4]]) == 1
    # tokens alone would say the first; pairs know the order
    assert mbr_choice([[3, 2, 1], [1, 2, 3], [1, 2, 3]]) == 1
    # F1 alone would say the first (2.33 against 2), which is shorter than the mean of 10 / 3: times exp(1 − 5 / 3)
    assert mbr_choice([[1, 2], [1, 2, 3, 4], [1, 2, 5, 6]]) == 1
    assert mbr_choice([[], []]) == 0 and mbr_choice([[7]]) == 0
    # the others say the first (F1 of 4/5 + 2/3 each with the fourth and third), what is told the second
    others, told = [[1, 2, 3], [9, 9, 9], [1, 2, 4]], np.array([0.0, 1.0, 0.0])
    assert [mbr_choice(others, told, share) for share in (0.0, 0.3, 0.5, 1.0)] == [0, 0, 1, 1]


def test_the_consensus_is_one_of_the_draws():
    ids, mask = prompts(3)
    options = {"max_new_tokens": 6, "sample": True, "seed": 3, "samples": 4}
    drawn = draw_texts(MODELS["tied"], ids, mask, **options)
    for answer, own in zip(generate_text(MODELS["tied"], ids, mask, **options), drawn, strict=True):
        assert len(own) == 4 and len(set(map(tuple, own))) > 1
        assert answer == own[mbr_choice(own)]


def test_options_that_contradict_each_other():
    with pytest.raises(UserError, match="sample=True"):
        TextOptions(samples=4)
    with pytest.raises(UserError, match="num_beams"):
        wanted = RequiredTokens([[5]] * 3, starts_of())
        generate_text(MODELS["tied"], *prompts(3), num_beams=2, wanted=wanted)


def test_what_is_preferred():
    various = {"rouge1": 0.2, "unique_sentences": 0.8}
    safe = {"rouge1": 0.3, "unique_sentences": 0.1}
    safer = {"rouge1": 0.4, "unique_sentences": 0.05}
    assert preference(various, 0.75) > preference(safe, 0.75) > preference(safer, 0.75)
    assert preference(safer, 0.05) > preference(safe, 0.05) > preference(various, 0.05)
    fluent, apt = ({"rouge1": a, "bleu4": b, "unique_sentences": 1.0} for a, b in ((0.15, 0.02), (0.2, 0.01)))
    assert preference(apt, 0.75) > preference(fluent, 0.75)
    both = ("rouge1", "bleu4")
    assert preference(fluent, 0.75, both) > preference(apt, 0.75, both)


@pytest.fixture(scope="module")
def split():
    return small_split()


@pytest.fixture(scope="module")
def checkpoint(split):
    return untrained(split)


def test_hints_are_in_the_answers_of_a_model_that_knows_nothing(checkpoint, split):
    predictor = Predictor(checkpoint, split.data)
    options = checkpoint.build_options()
    examples, index = single(
        split,
        "explanation/explain_feature",
        checkpoint.prompts,
        "test",
        options,
        "seen",
        split.rows("test")[:5],
    )
    hints = required_words(examples)
    assert hints == [split.data.texts["feature"][row] for row in examples.rows]
    inputs = predictor.encode(examples, index)
    assert feature_match(predictor.write(examples, inputs, options=TextOptions()), hints).tolist() == [1] * 5
    assert required_words(replace(examples, task="explanation/explain")) is None
    starts = Writer(checkpoint.tokenizer).word_starts
    pieces = checkpoint.tokenizer.convert_ids_to_tokens(np.flatnonzero(~starts).tolist())
    assert pieces and not any(piece.startswith("▁") for piece in pieces) and starts[1]


def test_a_text_is_not_the_answer_of_another_task(checkpoint, split, monkeypatch):
    """Whatever a strange wording was taken for, no text begins "5" or "yes"; where a rating belongs before it, it may."""
    tokenizer, ratings = checkpoint.tokenizer, checkpoint.rating_values
    wanted = ["▁yes", "▁no", "▁like", "▁dislike", *(f"▁{value:g}" for value in ratings)]
    predictor, barred = Predictor(checkpoint, split.data), []

    def draw(model, ids, mask, *, never_first, **more):
        barred.append(list(never_first))
        return [[[5]]] * len(ids)

    monkeypatch.setattr("p5t5.inference.text_writer.draw_texts", draw)
    for task, pieces in (("review/headline", wanted), ("explanation/rate_and_explain", [])):
        rows = split.rows("test")[:4]
        examples, index = single(
            split, task, checkpoint.prompts, "test", checkpoint.build_options(), "seen", rows
        )
        predictor.write(examples, predictor.encode(examples, index), options=TextOptions())
        assert tokenizer.convert_ids_to_tokens(barred[-1]) == pieces
        assert barred[-1] == answers_of_other_tasks(task, tokenizer, ratings)


def test_the_choice_is_made_on_validation_kept_and_used(checkpoint, split, tmp_path, monkeypatch):
    few = (TextOptions(max_new_tokens=6), TextOptions(max_new_tokens=6, sample=True, samples=2, seed=0))
    monkeypatch.setattr("p5t5.inference.text_decoding_search.SETTINGS", few)
    monkeypatch.setattr("p5t5.inference.text_decoding_search.SAMPLES", 5)
    checkpoint.save(tmp_path)
    asked = []
    monkeypatch.setattr(
        Predictor,
        "generate",
        lambda self, examples, inputs, options: asked.append((examples, options)) or [options],
    )
    monkeypatch.setattr(
        Predictor,
        "select",
        lambda self, examples, drawn, options, items: [
            f"{r if drawn[0].sample else ''} the sound" for r in range(5)
        ],
    )

    build = checkpoint.build_options()
    chosen = choose_text_options(
        Predictor(checkpoint, split.data),
        split,
        ["rating/score", "explanation/explain_feature"],
        build,
        limit=5,
    )
    monkeypatch.undo()
    assert set(chosen) == {"explanation/explain_feature"}
    assert [options for _, options in asked] == [replace(o, wanted_bonus=b) for o in few for b in (0.0, 2.0)]
    for examples, _ in asked:
        assert len(examples) == 5 and set(examples.rows) <= set(split.rows("validation"))
    one = chosen["explanation/explain_feature"]
    assert one["options"] == {"max_new_tokens": 6, "sample": True, "samples": 5, "seed": 0}
    assert one["validation"]["rows"] == 5 and len(one["validation"]["tried"]) == 4

    assert saved_options(checkpoint) == {}
    store_text_options(checkpoint, chosen)
    before = (tmp_path / "p5t5.json").stat().st_mode & 0o077
    checkpoint.save_fitted(tmp_path)
    assert saved_options(checkpoint) == {"explanation/explain_feature": replace(few[1], samples=5)}
    assert not list(tmp_path.glob("*.tmp")) and (tmp_path / "p5t5.json").stat().st_mode & 0o077 == before
    loaded = Checkpoint.load(tmp_path)
    assert loaded.fitted[ARTIFACT] == checkpoint.fitted[ARTIFACT]
    out = evaluate_checkpoint(
        loaded, split, ("explanation/explain_feature",), limit=3, prompts=("seen",), progress=False
    )
    row = find(out.rows, metric="rouge1")
    assert row["text_decoding"] == "consensus of 5, temperature 1" and row["protocol"] == "text"
    assert {sample["picked"] for sample in out.samples} <= {"best", "worst", "random"}
    loaded.add_stage({"stage": "finetune"})
    assert saved_options(loaded) == {}  # chosen for other weights


def test_a_choice_is_written_only_into_a_folder_that_was_given(
    checkpoint, split, tmp_path, monkeypatch, capsys
):
    """A model of the Hub lies in a cache that others share: its choice is kept in memory, and that is said."""
    checkpoint = replace(checkpoint, fitted={})
    checkpoint.save(tmp_path)
    written = (tmp_path / "p5t5.json").read_text()
    task = "explanation/explain"
    chosen = {task: {"options": {"num_beams": 3}, "validation": {"rows": 7, "tried": {}}}}
    monkeypatch.setattr("p5t5.inference.text_decoding_search.choose_text_options", lambda *_, **__: chosen)
    monkeypatch.setattr("p5t5.checkpoint.hub.resolve", lambda _: tmp_path)
    for model, says in (("someone/model", "not saved"), (str(tmp_path), "7 validation rows → ")):
        checkpoint.fitted.pop(ARTIFACT, None)
        choose_text(model, checkpoint, split, [task], 0, print)
        assert saved_options(checkpoint)[task].num_beams == 3
        assert says in capsys.readouterr().out
        assert ((tmp_path / "p5t5.json").read_text() == written) == (model == "someone/model")
    assert saved_options(Checkpoint.load(tmp_path)) == saved_options(checkpoint)
    checkpoint.save_fitted(tmp_path)
    monkeypatch.setattr("json.dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoint.save_fitted(tmp_path)
    assert not list(tmp_path.glob("*.tmp")), "nothing is left behind"


def test_a_choice_by_what_is_said_of_items_is_kept_whole(checkpoint, split, tmp_path, monkeypatch):
    """What training texts say of items goes with the model, and the same sample is picked where it is loaded."""
    few = (TextOptions(max_new_tokens=6), TextOptions(max_new_tokens=6, sample=True, samples=8, seed=0))
    monkeypatch.setattr("p5t5.inference.text_decoding_search.SETTINGS", few)
    monkeypatch.setattr("p5t5.inference.text_decoding_search.SAMPLES", 5)
    draws = []
    draw = Predictor.generate
    monkeypatch.setattr(
        Predictor, "generate", lambda self, *given: draws.append(given[-1]) or draw(self, *given)
    )
    checkpoint, task = replace(checkpoint, fitted={}), "explanation/explain"
    build = checkpoint.build_options()
    ngrams = fit_item_ngrams(checkpoint.tokenizer, split, [task], build)
    predictor = Predictor(checkpoint, split.data, item_ngrams=ngrams)
    chosen = choose_text_options(predictor, split, [task], build, limit=5)
    assert draws == list(few), "drawn once, however the answer is picked"
    assert len(chosen[task]["validation"]["tried"]) == 3
    chosen[task]["options"] = {
        "max_new_tokens": 6,
        "sample": True,
        "samples": 5,
        "seed": 0,
        "item_weight": 1.0,
    }
    checkpoint.save(tmp_path)
    store_text_options(checkpoint, chosen, predictor.item_ngrams)
    checkpoint.save_fitted(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))

    options = saved_options(checkpoint)[task]
    assert options.item_weight == 1 and describe_decoding(options).endswith("what is said of the item 1")
    rows = split.rows("test")[:6]
    examples, index = single(split, task, checkpoint.prompts, "test", build, "seen", rows)
    inputs = predictor.encode(examples, index)
    texts = predictor.write(examples, inputs, split.data.item[rows], options)
    drawn = predictor.generate(examples, inputs, options)
    for row, answers, text in zip(rows, drawn, texts, strict=True):
        gain = predictor.item_ngrams["explanation"].expected_f1(split.data.item[row], answers)
        lengths = np.array([len(answer) for answer in answers])
        best = np.argmax(gain * np.exp(np.minimum(1 - lengths.mean() / np.maximum(lengths, 0.5), 0)))
        assert text == checkpoint.tokenizer.decode(answers[best], skip_special_tokens=True).strip()
    loaded = Checkpoint.load(tmp_path)
    assert Predictor(loaded, split.data).write(examples, inputs, split.data.item[rows], options) == texts
    answerer = Answerer(loaded)
    assert (
        answerer.predictor.item_ngrams["explanation"].texts[-1]
        == predictor.item_ngrams["explanation"].texts[-1]
    )
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / NGRAMS_FILE).read_bytes() == checkpoint.fitted[ARTIFACT].files[NGRAMS_FILE]
    (tmp_path / NGRAMS_FILE).write_bytes(b"")
    with pytest.raises(UserError, match=r"item_ngrams\.parquet is missing"):
        Answerer(Checkpoint.load(tmp_path))
    store_text_options(checkpoint, {task: {"options": {"num_beams": 2}}})
    assert not checkpoint.fitted[ARTIFACT].files and saved_item_ngrams(checkpoint) == {}


def test_a_question_is_answered_as_was_chosen(checkpoint, monkeypatch):
    options = TextOptions(sample=True, samples=2, seed=0, max_new_tokens=5)
    monkeypatch.setattr(
        "p5t5.inference.predictor.saved_options", lambda checkpoint: {"explanation/explain": options}
    )
    answerer = Answerer(checkpoint)
    used = []
    monkeypatch.setattr(
        Writer,
        "write",
        lambda self, model, inputs, options, hints=None, never_first=(), phrases=None, items=None: (
            used.append((options, hints, len(never_first))) or ["said"]
        ),
    )
    place = next(n for n, prompt in enumerate(checkpoint.prompts) if prompt.task == "explanation/explain")
    assert answerer.answer("explanation/explain", place, PromptFacts(user=0, item=3)).text == "said"
    assert used == [(options, None, 4 + len(checkpoint.rating_values))]


def test_descriptions():
    assert describe_decoding(TextOptions()) == "greedy"
    assert (
        describe_decoding(TextOptions(sample=True, temperature=0.5, top_p=0.9))
        == "sampled, temperature 0.5, top_p 0.9"
    )
    names = [describe_decoding(options) for options in settings(hinted=True)]
    assert len(set(names)) == len(names) == 2 * len(settings(hinted=False))
    told = [describe_decoding(options) for options in settings(hinted=False, has_ngrams=True)]
    assert len(set(told)) == len(told) == 9  # greedy has no samples to pick among

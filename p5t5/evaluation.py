"""A model's or a baseline's answers on the rows of one part, judged by one protocol for all.

- **filtered**: the items of the user's visible history (everything before the row) are removed from the
  ranking, as recommenders do. Where data repeats, a test item that is in the history is then a miss.
  **unfiltered**: nothing is removed. **1+99**: one true item among uniform negatives that the user has
  not met; the draws are fixed by the seed. **expected**: the probability-weighted rating. **choice**:
  the likelier of two answers. **text**: written text; the field text_decoding says how it was decoded.
- Every prediction counts: what cannot be parsed is wrong, never dropped.
- The model's and the baselines' rows are the same, so every comparison is paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.answering import Asker, text_values
from p5t5.baselines import Scorer, default_scorers
from p5t5.baselines.rating import RatingBaseline, rating_baselines, review_ridge
from p5t5.baselines.text import COLUMN_OF, text_baselines
from p5t5.errors import UserError
from p5t5.fusion import Fusion
from p5t5.fusion.model import measure
from p5t5.metrics import absolute_error, accuracy, candidate_ranks, squared_error
from p5t5.metrics.text import require_packages
from p5t5.mixture import single, usable_prompts
from p5t5.randomness import hashed
from p5t5.results import Evaluation, Measured, ranking_values
from p5t5.splits import Split
from p5t5.tasks import TASKS, BuildOptions
from p5t5.tasks.rating import middle

if TYPE_CHECKING:
    from p5t5.checkpoint import Checkpoint

WHOLE = 2**31  # longer than any history
PROTOCOLS = ("filtered", "unfiltered")


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    split: Split,
    tasks: Sequence[str] | None = None,
    part: str = "test",
    prompts: Sequence[str] = ("seen", "held_out"),
    seed: int = 0,
    protocols: Sequence[str] = PROTOCOLS,
    limit: int | None = None,
    progress: bool = True,
    *,
    model_name: str = "p5t5",
    checkpoint_name: str = "",
    variant: str = "main",
    samples: int = 3,
    token_budget: int = 8192,
    fusion: Fusion | None = None,
) -> Evaluation:
    """Asks the model every eligible row of ``part`` once a wording kind, and judges the answers.

    - ``tasks``: names, or None for the checkpoint's own tasks (all tasks where it names none).
    - ``prompts``: "seen" and "held_out" (one such wording a row, drawn by the seed), or prompt ids.
    - ``limit``: at most so many users, chosen by the seed. ``samples``: questions kept for people.
    - ``fusion``: what sequential/next_item is ranked with once more, in rows of "<model_name>+fusion".

    Tasks that the data cannot feed are skipped, with a sentence in ``Evaluation.skipped``.
    """
    from tqdm import tqdm

    _check(protocols)
    data = split.data
    checkpoint.check(data)
    if fusion is not None:
        fusion.check(data.hash)
    asker = Asker(
        checkpoint, data, token_budget
    )  # its text is decoded as was chosen for the model, or greedily
    options = replace(checkpoint.build_options(-1), seed=seed)
    wanted = list(tasks if tasks is not None else checkpoint.info.get("tasks") or TASKS)
    about = _about(split, part, seed, checkpoint_name, variant)
    out = Evaluation()
    if any(
        "text" in TASKS[task].decoding and not rows_of(split, task, part, limit, seed)[1]
        for task in wanted
        if task in TASKS
    ):
        require_packages()
    work = [(task, prompt) for task in wanted for prompt in _wordings(prompts, task, checkpoint)]
    bar = tqdm(work, desc=f"evaluating {part}", disable=not progress, leave=False)
    for task, prompt in bar:
        bar.set_postfix_str(f"{task} {prompt}")
        rows, reason = rows_of(split, task, part, limit, seed)
        if not reason and prompt in ("seen", "held_out"):
            usable = usable_prompts(checkpoint.prompts, task, data, held_out=prompt == "held_out")
            reason = "" if len(usable) else f"{task} has no {prompt} wording that {data.name} can fill"
        if not reason and TASKS[task].decoding.startswith("rating"):
            reason = _other_scale(checkpoint, split)
        if reason:
            out.skipped += [] if reason in out.skipped else [reason]
            continue
        examples, index = single(split, task, checkpoint.prompts, part, options, prompt, rows)
        started = perf_counter()
        for answers in asker.ask(examples, index, split, options, protocols):
            seconds, started = perf_counter() - started, perf_counter()
            kept = np.arange(len(rows)) if answers.kept is None else answers.kept
            measured = Measured(
                model_name,
                task,
                prompt,
                answers.protocol,
                rows[kept],
                data.user[rows[kept]],
                answers.values,
                answers.totals,
                seconds,
                answers.text_decoding,
            )
            out.add(measured, about)
            if answers.calibration is not None:
                asked = {"task": task, "model": model_name, "variant": variant, "prompt": prompt}
                out.calibration.append({**asked, "protocol": answers.protocol, **answers.calibration})
            if answers.shown and answers.protocol != "unfiltered":
                out.samples += asker.samples(examples, index, answers, samples, seed, prompt)
        if fusion is not None and task == "sequential/next_item":
            inputs = asker.renderer.encode_inputs(examples, index)
            name = f"{model_name}+fusion"
            for measured in measure(
                fusion, asker.model, inputs, asker.trie, split, rows, prompt, protocols, name, token_budget
            ):
                out.add(measured, about)
    return out


def evaluate_baselines(
    split: Split,
    part: str = "test",
    tasks: Sequence[str] | None = None,
    seed: int = 0,
    protocols: Sequence[str] = PROTOCOLS,
    limit: int | None = None,
    *,
    options: BuildOptions | None = None,
    with_implicit: bool | None = None,
    scorers: Sequence[Scorer] | None = None,
) -> Evaluation:
    """Baselines on the rows that `evaluate_checkpoint` asks about, each where it has something to say.

    ``options``: as the model's, so that the candidates are the same (only ``candidates`` matters).
    ``with_implicit``: item-kNN and ALS of the package implicit; None takes them where it is installed.
    ``scorers``: these, instead of all that rank.
    """
    _check(protocols)
    options = replace(options or BuildOptions(), seed=seed, epoch=-1)
    about = _about(split, part, seed, "", "main")
    out = Evaluation()
    raters: list[RatingBaseline] | None = None
    for task in tasks if tasks is not None else TASKS:
        rows, reason = rows_of(split, task, part, limit, seed)
        if reason:
            out.skipped.append(reason)
            continue
        decoding = TASKS[task].decoding
        if task == "sequential/next_item" or decoding == "candidates":
            scorers = default_scorers(split, with_implicit) if scorers is None else scorers
            found = (
                _measured_candidates(split, task, rows, scorers[:2], options)
                if decoding == "candidates"
                else _measured_rankings(split, task, rows, scorers, protocols)
            )
        elif decoding == "choice":
            found = _measured_majority(split, task, rows, options)
            if task == "rating/like":
                raters = rating_baselines(split) if raters is None else raters
                found = chain(found, _measured_likes(split, rows, raters))
        elif decoding in ("rating", "text", "rating_and_text"):
            if decoding != "text" and raters is None:
                raters = rating_baselines(split)
            found = _measured_answers(split, task, rows, raters or [], seed)
        else:
            continue
        for measured in found:
            out.add(measured, about)
    return out


def _check(protocols: Sequence[str]) -> None:
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise UserError(f"there is no protocol {unknown[0]!r}; there are {', '.join(PROTOCOLS)}")


def _about(split: Split, part: str, seed: int, checkpoint: str, variant: str) -> dict[str, Any]:
    return {
        "dataset": split.data.name,
        "split": part,
        "scheme": split.scheme,
        "seed": seed,
        "checkpoint": checkpoint,
        "variant": variant,
    }


def _wordings(prompts: Sequence[str], task: str, checkpoint: Checkpoint) -> list[str]:
    """The wording kinds, and those prompt ids that belong to the task."""
    task_of = {prompt.id: prompt.task for prompt in checkpoint.prompts}
    for name in prompts:
        if name not in ("seen", "held_out") and name not in task_of:
            raise UserError(
                f"the checkpoint has no prompt {name!r}; ask for seen, held_out or one of its ids"
            )
    return [name for name in prompts if name in ("seen", "held_out") or task_of[name] == task]


def rows_of(split: Split, task: str, part: str, limit: int | None, seed: int) -> tuple[np.ndarray, str]:
    """The rows of a task to ask about and "", or none and a sentence why."""
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} users: it must be at least 1, or 0 for all")
    none = np.zeros(0, np.int64)
    if task not in TASKS:
        raise UserError(f"there is no task {task!r}; there are {', '.join(TASKS)}")
    missing = TASKS[task].missing(split.data)
    if missing:
        return none, f"{task} is off: {split.data.name} has no {' and no '.join(missing)}"
    if reason := TASKS[task].why_off(split):
        return none, f"{task} is off: {reason}"
    rows = TASKS[task].eligible(split, part)
    if not len(rows):
        return none, f"{task} is off: {split.data.name} has no {part} row for it"
    if limit is not None:
        users = split.data.user[rows]
        known = np.unique(users)
        chosen = known[np.argsort(hashed(seed, known), kind="stable")[:limit]]
        rows = rows[np.isin(users, chosen)]
    return rows, ""


def _other_scale(checkpoint: Checkpoint, split: Split) -> str:
    ours, theirs = checkpoint.rating_values, split.data.rating_values
    if len(ours) == len(theirs) and np.allclose(ours, theirs):
        return ""
    return f"ratings are off: the model knows {ours.tolist()}, {split.data.name} has {theirs.tolist()}"


def _measured_rankings(
    split: Split, task: str, rows: np.ndarray, scorers: Sequence[Scorer], protocols: Sequence[str]
) -> Iterator[Measured]:
    data = split.data
    history, truth, users = split.history_items(rows, WHOLE), data.item[rows], data.user[rows]
    for scorer in scorers:
        started = perf_counter()
        ranks = {protocol: np.empty(len(rows), np.int64) for protocol in protocols}
        for at, table in scorer.chunks(history, users):
            for protocol in protocols:
                exclude = history.take(at) if protocol == "filtered" else None
                ranks[protocol][at] = scorer.ranks(table, truth[at], exclude)
        seconds = (perf_counter() - started) / max(len(protocols), 1)
        for protocol in protocols:
            values = ranking_values(ranks[protocol], TASKS[task].metrics)
            yield Measured(scorer.name, task, "", protocol, rows, users, values, seconds=seconds)


def _measured_candidates(
    split: Split, task: str, rows: np.ndarray, scorers: Sequence[Scorer], options: BuildOptions
) -> Iterator[Measured]:
    examples = TASKS[task].build(split, rows, options)
    assert examples.candidates is not None and examples.answer is not None
    history, users = split.history_items(rows, WHOLE), split.data.user[rows]
    for scorer in scorers:
        started = perf_counter()
        scores = scorer.candidate_scores(history, examples.candidates, users)
        ranks = candidate_ranks(scores, examples.answer, options.seed)
        values = ranking_values(ranks, TASKS[task].metrics)
        protocol = f"1+{options.candidates - 1}"
        seconds = perf_counter() - started
        yield Measured(scorer.name, task, "", protocol, rows, users, values, seconds=seconds)


def _measured_majority(
    split: Split, task: str, rows: np.ndarray, options: BuildOptions
) -> Iterator[Measured]:
    """The commonest answer of the training rows, always."""
    train = TASKS[task].eligible(split, "train")
    known = TASKS[task].build(split, train, options).answer if len(train) else None
    truth = TASKS[task].build(split, rows, options).answer
    assert truth is not None
    common = 0 if known is None else int(np.bincount(known).argmax())
    values = {"accuracy": accuracy(np.full(len(rows), common), truth)}
    yield Measured("majority", task, "", "choice", rows, split.data.user[rows], values)


def _measured_likes(split: Split, rows: np.ndarray, raters: Sequence[RatingBaseline]) -> Iterator[Measured]:
    """Rating baselines on who likes what: a predicted rating above the middle of the scale means a like."""
    data = split.data
    assert data.rating is not None
    liked = data.rating[rows] > middle(data.rating_values)
    for rater in raters:
        above = rater.predict(data.user[rows], data.item[rows]) - middle(data.rating_values)
        values = {
            "accuracy": accuracy(above > 0, liked),
            "auc": np.stack([above, liked], 1).astype(np.float64),
        }
        yield Measured(rater.name, "rating/like", "", "choice", rows, data.user[rows], values)


def _measured_answers(
    split: Split, task: str, rows: np.ndarray, raters: Sequence[RatingBaseline], seed: int
) -> Iterator[Measured]:
    """Rating baselines where the task rates, training texts where it writes."""
    data, users, decoding = split.data, split.data.user[rows], TASKS[task].decoding
    if decoding != "text":
        assert data.rating is not None
        guesses = {rater.name: rater.predict(data.user[rows], data.item[rows]) for rater in raters}
        told = {"review/score": ("review",), "review/score_with_headline": ("review", "summary")}.get(task)
        ridge = None if told is None else review_ridge(split, rows, told)
        if ridge is not None:
            guesses["tfidf_ridge"] = ridge
        for name, guess in guesses.items():
            truth = data.rating[rows]
            values = {"rmse": squared_error(guess, truth), "mae": absolute_error(guess, truth)}
            yield Measured(name, task, "", "expected", rows, users, values)
    if decoding != "rating":
        column, started = COLUMN_OF.get(task, "explanation"), perf_counter()
        references = [data.texts[column][row] for row in rows.tolist()]
        for name, texts in text_baselines(split, task, rows, seed):
            seconds = perf_counter() - started
            values, totals = text_values(texts, references, split, task, rows)
            yield Measured(name, task, "", "text", rows, users, values, totals, seconds)
            started = perf_counter()

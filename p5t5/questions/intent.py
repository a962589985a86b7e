"""Which task a question in plain words is about: its nearest wordings among prompts and cues.

Questions and wordings are brought to one form (what they name becomes a marker: [item], [items],
[user], [text]), then compared by the cosine of TF-IDF vectors over words, word pairs and letter
4-grams. Cues are everyday paraphrases of each task (questions.yaml); prompts are the checkpoint's.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from p5t5.questions.entity_linking import Link, everyday_language
from p5t5.questions.masking import _WORD, _merge, _prompt_outline, outline
from p5t5.questions.spelling import one_edit_away
from p5t5.tasks.base import Decoding
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import Prompt

# Below this, no wording is near. Questions people asked score .2 to .9, unrelated sentences under .15.
NEAR = 0.16

ASKED = 0.6  # what the sentence with the question mark counts, beside the whole text


@dataclass(frozen=True)
class Route:
    """The task, the similarity (0 to 1) of its nearest wording, and of every wording of the checkpoint.

    ``names``: how many items the question seems to name, known or not.
    """

    task: str
    similarity: float
    by_task: dict[str, float]
    by_prompt: np.ndarray
    names: int = 0

    @property
    def family(self) -> str:
        return self.task.split("/")[0]

    @property
    def near(self) -> bool:
        return self.similarity >= NEAR


class Router:
    """Routes questions by the wordings of ``prompts`` and the cues of questions.yaml.

    ``tasks``: the tasks that may be answered (all those of ``prompts`` by default). Those that are
    not ``Task.asked_in_words`` are left out.
    """

    def __init__(self, prompts: Sequence[Prompt], tasks: Collection[str] | None = None):
        self.prompts = list(prompts)
        cues = everyday_language()["cues"]
        wanted = {prompt.task for prompt in prompts} if tasks is None else set(tasks)
        self.tasks = sorted(task for task in wanted if TASKS[task].asked_in_words)
        wordings = [(prompt.task, _prompt_outline(prompt)) for prompt in self.prompts]
        wordings += [(task, _merge(cue)) for task in self.tasks for cue in cues.get(task, ())]
        self._task = np.array([self.tasks.index(task) if task in self.tasks else -1 for task, _ in wordings])
        bags = [_features(text) for _, text in wordings]
        self._place = {
            name: place for place, name in enumerate(dict.fromkeys(n for bag in bags for n in bag))
        }
        self._weight = self._telling(bags)
        self._unseen = float(np.median(self._weight))
        self._table = np.stack([self._vector(bag) for bag in bags])
        self._words = Counter(word for _, wording in wordings for word in _WORD.findall(wording.lower()))

    def route(self, text: str, links: Sequence[Link] = ()) -> Route:
        """The task of a cleaned question; ``links`` are what the linker found in it."""
        whole = self._respelled(outline(text, links))
        asked = _asked_part(whole)
        similar = self._table @ self._vector(_features(whole))
        if asked != whole:
            alone = self._table @ self._vector(_features(asked))
            similar = (1 - ASKED) * similar + ASKED * alone
        nearest = np.array([similar[self._task == task].max(initial=0) for task in range(len(self.tasks))])
        scores = nearest * np.array([_plausible(task, whole) for task in self.tasks])
        best = int(scores.argmax())
        return Route(
            task=self.tasks[best],
            similarity=float(nearest[best]),
            by_task=dict(zip(self.tasks, scores.tolist(), strict=True)),
            by_prompt=similar[: len(self.prompts)],
            names=whole.count("[item]") + 2 * whole.count("[items]"),
        )

    def _respelled(self, text: str) -> str:
        """Words that no wording has, one slip away from one that some have ("wuold"), as those have it.

        Words of four letters only where two letters are swapped: too many are one letter apart.
        """

        def respelled(match: re.Match) -> str:
            word = match.group().lower()
            if word in self._words:
                return match.group()
            ways = list(itertools.islice(one_edit_away(word), len(word) - 1 if len(word) < 5 else None))
            swapped = [way for way in ways[: len(word) - 1] if way in self._words]
            known = swapped or [way for way in ways if way in self._words]
            return max(known, key=lambda way: self._words[way], default=match.group())

        return _WORD.sub(respelled, text)

    def _telling(self, bags: list[Counter]) -> np.ndarray:
        """float [features]: how rare a feature is, times how much it tells about the family.

        Plain IDF would hold "why" for a weak word, since so many explanations are asked with it.
        """
        families = sorted({task.split("/")[0] for task in self.tasks})
        seen = np.zeros((len(self._place), len(families)))
        for task, bag in zip(self._task, bags, strict=True):
            if task >= 0:
                seen[[self._place[name] for name in bag], families.index(self.tasks[task].split("/")[0])] += 1
        idf = np.log((1 + len(bags)) / (1 + seen.sum(1))) + 1
        wordings = np.bincount(
            [families.index(self.tasks[task].split("/")[0]) for task in self._task if task >= 0]
        )
        rate = (seen + 0.3) / (wordings + 0.3 * len(families))
        share = rate / rate.sum(1, keepdims=True)
        certainty = 1 + (share * np.log(share)).sum(1) / np.log(max(len(families), 2))
        return np.sqrt(idf) * (FLOOR + certainty)

    def _vector(self, bag: Counter) -> np.ndarray:
        """float32 [features], of length 1 before unknown features are dropped."""
        vector = np.zeros(len(self._place), np.float32)
        total = 0.0
        for name, count in bag.items():
            place = self._place.get(name)
            weight = self._weight[place] if place is not None else self._unseen / 2
            value = _WEIGHT[name[0]] * weight * (1 + np.log(count))
            total += value * value
            if place is not None:
                vector[place] = value
        return vector / max(total, 1e-12) ** 0.5


def _asked_part(text: str) -> str:
    """The sentence with the question mark, if there is one beside others; else all of it."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    asking = [sentence for sentence in sentences if sentence.endswith("?")]
    return " ".join(asking) if asking and len(asking) < len(sentences) else text


FLOOR = 0.3

_WEIGHT = {"o": 1.0, "w": 1.0, "p": 0.8, "g": 0.35, "m": 0.8}


def _features(text: str) -> Counter:
    """Names of what is in the text: o opening word, w word, p pair of words, g letter 4-gram, m marker."""
    return Counter(_feature_names(text.lower()))


def _feature_names(text: str) -> Iterator[str]:
    words = re.findall(r"\[\w+\]|[^\W_]+(?:['’][^\W_]+)?", text)
    yield from ("o" + word for word in words[:1])
    for word in words:
        if word.startswith("["):
            yield "m" + word
            continue
        yield "w" + word
        padded = f"<{word}>"
        for place in range(len(padded) - 3):
            yield "g" + padded[place : place + 4]
    for left, right in itertools.pairwise(words):
        yield f"p{left} {right}"


def _plausible(task: str, text: str) -> float:
    """A factor for what a task cannot do without: a pasted text, or a choice of items."""
    if "[text]" in text:
        return 1.25 if TASKS[task].reads_review else 0.8
    if TASKS[task].reads_review:
        return 0.9 if re.search(r"\breview|\bcomment|\bfeedback", text, re.IGNORECASE) else 0.6
    if TASKS[task].decoding is Decoding.CANDIDATES and "[items]" not in text and text.count("[item]") < 2:
        return 0.8
    return 1.0

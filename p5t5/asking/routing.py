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

from p5t5.asking.linking import Link, everyday_language, replace_links
from p5t5.asking.spelling import one_edit_away
from p5t5.prompts import PLACEHOLDER, Prompt

# Below this, no wording is near. Questions people asked score .2 to .9, unrelated sentences under .15.
NEAR = 0.16
ASKED = 0.6  # what the sentence with the question mark counts, beside the whole text

_MARKERS = {"item": " [item] ", "ambiguous": " [item] ", "user": " [user] "}
_SLOT_MARKERS = {
    "user": "[user]",
    "item": "[item]",
    "title": "[item]",
    "items": "[items]",
    "history": "[items]",
    "history_titles": "[items]",
    "candidates": "[items]",
    "rated_history": "[items]",
    "rated_titles": "[items]",
    "review": "[text]",
    "about": "",
}
_TITLE_WORD = r"(?:[A-Z0-9][\w'’.&\-]*|&)"
_TITLE_RUN = rf"{_TITLE_WORD}(?:[ ,:]+(?:(?:the|of|and|a|an|in|to|for|on|with|la|de) )*{_TITLE_WORD})*"
_DATED = re.compile(rf"{_TITLE_RUN}\s*\((?:19|20)\d\d\)")
_NAMES = re.compile(
    rf"(?<=[a-z,:;\]] )(?!I\b|\d+\b){_TITLE_WORD}(?:[ ]+(?:(?:the|of|and|a|an|in|to|for|on|with|la|de) )*{_TITLE_WORD})*"
)
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|(?<!\w)['‘]([^'‘’]{3,})['’](?!\w)")
_PASTED = re.compile(
    r"(?:[:\n]|\b(?:reviews?|feedback|comments?|opinion|text|title|headline|summary)\b[^.?!]{0,30}[.?!])\s*([^:\s][^:\n]{24,}.*)$",
    re.DOTALL | re.IGNORECASE,
)
# What follows may be terse ("great strings, lasted long") and no sentence by its words.
_CALLED_A_REVIEW = re.compile(r"\b(?:review|feedback|comment|opinion)\s*:\s*$", re.IGNORECASE)
_USER = re.compile(
    r"\b(user|customer|viewer|member|shopper|reader|account|reviewer)[ _#]*(?=\w*\d)\w+", re.IGNORECASE
)
_NUMBERED = re.compile(r"\b(?:item|product|movie|film)s?[ _#]*(?=\w*\d)\w+", re.IGNORECASE)
_WORD = re.compile(r"(?<![\[\w])[A-Za-z]{4,}(?![\]\w])")  # and no marker
_BETWEEN = re.compile(r"\s*(?:[,;/]|\bor\b)\s*")
_NAME = re.compile(r"(?!(?:I|It|This|That|These|We|You|He|She|They|My)\b)[A-Z0-9]\S*(?:\s+\S+){0,7}")
_RUN = re.compile(r"\[items?\](?:(?:\s|,|;|/|&|\band\b|\bor\b|\bthen\b)+\[items?\])+")


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

    ``tasks``: the tasks that may be answered (all those of ``prompts`` by default). Those without cues are
    left out: nobody who asks tells a review's headline apart, so it is never review/score_with_headline.
    """

    def __init__(self, prompts: Sequence[Prompt], tasks: Collection[str] | None = None):
        self.prompts = list(prompts)
        cues = everyday_language()["cues"]
        wanted = {prompt.task for prompt in prompts} if tasks is None else set(tasks)
        self.tasks = sorted(wanted & set(cues))
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


def outline(text: str, links: Sequence[Link] = ()) -> str:
    """The question with what it names replaced by markers: found links, and what looks like a name."""
    text = replace_links(text, links, _MARKERS)
    text = _DATED.sub(_keep_opener, text)
    text = _NUMBERED.sub(" [item] ", text)
    text = _QUOTED.sub(lambda match: _quoted_marker(next(group for group in match.groups() if group)), text)
    pasted = _pasted(text)
    if pasted:
        text = f"{text[: pasted[0]]} [text] {text[pasted[1] :]}"
    text = _USER.sub(" [user] ", text)
    text = _NAMES.sub(" [item] ", text)
    return _merge(text)


def pasted_text(text: str) -> str | None:
    """A review pasted into the question: the longest quoted prose, or prose behind a colon or line break."""
    quoted = [next(group for group in match.groups() if group) for match in _QUOTED.finditer(text)]
    prose = [part for part in quoted if _quoted_marker(part) == " [text] "]
    pasted = _pasted(text)
    if not prose and pasted:
        return text[slice(*pasted)].strip()
    return max(prose, key=len).strip() if prose else None


def _prompt_outline(prompt: Prompt) -> str:
    return _merge(PLACEHOLDER.sub(lambda match: f" {_SLOT_MARKERS.get(match.group(1), '')} ", prompt.input))


def _merge(text: str) -> str:
    return " ".join(_RUN.sub("[items]", text).split())


def _pasted(text: str) -> tuple[int, int] | None:
    """The span of prose behind a colon, or behind a sentence that speaks of a review; no question at its end."""
    match = _PASTED.search(text)
    if not match or match.group(1).startswith("[item"):
        return None
    start, end = match.span(1)
    sentences = list(re.finditer(r"(?:^|(?<=[.!?]))\s*[^.!?]+[.!?]*", match.group(1)))
    if len(sentences) > 1 and sentences[-1].group().rstrip().endswith("?"):
        end = start + sentences[-1].start()
    called_so = _CALLED_A_REVIEW.search(text[:start]) and _quoted_marker(text[start:end]) == " [text] "
    return (start, end) if called_so or _is_prose(text[start:end]) else None


def _keep_opener(match: re.Match) -> str:
    """ "Is Heat (1995)" → "Is [item]": a capital at the start of a sentence is no part of the title."""
    words, kept = match.group().split(), 0
    everyday = everyday_language()["words"]["everyday"] - everyday_language()["words"]["articles"]
    while kept < len(words) - 2 and words[kept].lower() in everyday:
        kept += 1
    return " ".join([*words[:kept], " [item] "])


def _quoted_marker(part: str) -> str:
    words = part.split()
    capitals = sum(word[0].isupper() or word[0].isdigit() for word in words)
    return " [item] " if len(words) <= 2 or (len(words) < 10 and 2 * capitals >= len(words)) else " [text] "


def _is_prose(part: str) -> bool:
    """Whether words look like sentences rather than a list of names."""
    words = re.findall(r"[a-z']+", part.lower())
    prose = everyday_language()["words"]["prose"]
    if "[item" in part and len(words) < 14:
        return False
    names = [name for name in _BETWEEN.split(part.strip(" .?!")) if name]
    if len(names) > 1 and all(_NAME.fullmatch(name) for name in names):
        return False
    return len(words) >= 6 and sum(word in prose for word in words) >= 0.2 * len(words)


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
    family = task.split("/")[0]
    if "[text]" in text:
        return 1.25 if family == "review" else 0.8
    if family == "review":
        return 0.9 if re.search(r"\breview|\bcomment|\bfeedback", text, re.IGNORECASE) else 0.6
    if task.endswith("/choose") and "[items]" not in text and text.count("[item]") < 2:
        return 0.8
    return 1.0

"""A question with its items, users and unknown names as markers; names that are titles but for a few letters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from p5t5.questions.entity_linking import normalize
from p5t5.questions.mention_context import YEAR_MEANT, Mention
from p5t5.questions.mentions import known_words
from p5t5.questions.names import unknown_names
from p5t5.questions.vocabulary import SURE, Vocabulary

MAX_NAMES = 6  # unknown names of one question that are compared with all titles


def masked_text(
    text: str,
    mentions: Sequence[Mention],
    people: Sequence[tuple[int, int]],
    unknown: Sequence[tuple[int, int]],
) -> str:
    """The text with items as ⟦0⟧, ⟦1⟧ …, users as ⟦u⟧ and unknown names as ⟦x⟧."""
    spans = [(m.start, m.end, f"⟦{n}⟧") for n, m in enumerate(mentions)]
    meant = YEAR_MEANT.search(text) if mentions else None
    if meant and all(meant.end() <= start or end <= meant.start() for start, end, _ in spans):
        spans.append((*meant.span(), ""))
    spans += [(start, end, "⟦u⟧") for start, end in people] + [(start, end, "⟦x⟧") for start, end in unknown]
    for start, end, marker in sorted(spans, reverse=True):
        text = f"{text[:start]}{marker}{text[end:]}"
    return text


def named_items(
    text: str, mentions: list[Mention], people: Sequence[tuple[int, int]], vocabulary: Vocabulary
) -> tuple[list[Mention], list[tuple[int, int]]]:
    """Mentions with those that are titles but for a few letters, and the spans of names of no item."""
    blank = text
    for start, end in [*((m.start, m.end) for m in mentions), *people]:
        blank = blank[:start] + "⟦" * (end - start) + blank[end:]
    blank = re.sub("⟦+", lambda match: "⟦" + "⟧" * (len(match.group()) - 1), blank)
    forms = vocabulary.attributes.forms
    names = unknown_names(blank, lambda words: normalize(words) in forms)
    out = [mention for mention in mentions if mention.items]
    out += _reordered(blank, vocabulary)
    names = [n for n in names if all(n.end <= m.start or m.end <= n.start for m in out)]
    unknown = [(mention.start, mention.end) for mention in mentions if not mention.items]
    for index, name in enumerate(names):
        near = vocabulary.nearest(text[name.start : name.end], SURE, 3) if index < MAX_NAMES else []
        year = re.search(r"\((\d{4})\)$", text[name.start : name.end])
        if year:
            near = [(i, n) for i, n in near if abs(vocabulary.linker.year_of(i, 0) - int(year.group(1))) <= 1]
        if near and len(normalize(text[name.start : name.end])) >= 7:
            best = tuple(item for item, likeness in near if likeness >= near[0][1] - 1)
            out.append(Mention(name.start, name.end, best, True))
        else:
            unknown.append((name.start, name.end))
    return sorted(out, key=lambda mention: mention.start), sorted(unknown)


def _reordered(blank: str, vocabulary: Vocabulary) -> list[Mention]:
    """Titles whose words are said in another order: "the lehrjahre of wilhelm meister"."""
    words = vocabulary.finder.title_words
    runs: list[list[re.Match]] = [[]]
    for match in re.finditer(r"[^\W_]+(?:['’-][^\W_]+)*|[^\s\w]", blank):
        plain = normalize(match.group())
        if plain in _JOINTS or (plain and all(part in words or part.isdigit() for part in plain.split())):
            runs[-1].append(match)
        elif runs[-1]:
            runs.append([])
    out = []
    for run in runs[:MAX_NAMES]:
        while run and (normalize(run[0].group()) in _JOINTS or normalize(run[0].group()) in known_words()):
            run = run[1:]
        while run and normalize(run[-1].group()) in _JOINTS:
            run = run[:-1]
        telling = [m.group() for m in run if normalize(m.group()) not in _JOINTS]
        if len(telling) < 2 or sum(normalize(word) not in known_words() for word in telling) < 2:
            continue
        near = vocabulary.nearest(" ".join(telling), SURE, 2)
        if near and (len(near) == 1 or near[0][1] > near[1][1] + 3):
            out.append(Mention(run[0].start(), run[-1].end(), (near[0][0],)))
    return out


_JOINTS = frozenset(
    [
        "of",
        "from",
        "by",
        "the",
        "a",
        "an",
        "in",
        "for",
        "with",
        "de",
        "du",
        "des",
        "von",
        "der",
        "die",
        "das",
        "la",
        "le",
    ]
)

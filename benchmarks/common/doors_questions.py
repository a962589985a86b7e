"""The questions of doors.py: ../shared/cases/questions.tsv, asked as `p5t5 query` would, judged by kind.

Titles, genres and popularity come from the data folder, read here; nothing of the parser is used.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

import p5t5
from common.doors_run import Verdict, is_users, shortened

SEQUELS = {
    "star wars": ("star wars", "empire strikes back", "return of the jedi"),
    "alien": ("alien",),
    "titanic": ("titanic",),
}
HELP = ("can ask", "be asked", "could ask", "understand", "english", "for example", "such as", "try ")
LANGUAGE = ("english", "language", "understand")
KNOWS_NOT = (
    "not known",
    "unknown",
    "did you mean",
    "no item",
    "not found",
    "not in the catalogue",
    "does not know",
)


@dataclass(frozen=True)
class Reply:
    """An answer, or a UserError (kind "refused") with its message as the note."""

    kind: str
    items: tuple[str, ...]
    value: float | None
    text: str
    linked: tuple[str, ...]
    notes: str

    @property
    def words(self) -> str:
        """Text and notes, in lower case: what a person is told beside the items."""
        return f"{self.text}\n{self.notes}".casefold()

    def tells(self, *groups: str | Sequence[str]) -> bool:
        found = [[group] if isinstance(group, str) else group for group in groups]
        return all(any(word in self.words for word in group) for group in found)

    def __str__(self) -> str:
        value = "" if self.value is None else f" {self.value:.2f}"
        return shortened(
            f"{self.kind}{value} {self.text} {list(self.items)} linked {self.linked}; {self.notes}"
        )


class World:
    """The model under test and what its data folder says, read independently of it."""

    def __init__(self, model: Path, data: Path) -> None:
        self.recommender = p5t5.Recommender.from_pretrained(model)
        self.data = data
        self.items = pd.read_parquet(data / "items.parquet").set_index("title")
        self.interactions = pd.read_parquet(data / "interactions.parquet")

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Title → place by number of interactions, from 1."""
        counts = self.interactions["item_id"].value_counts()
        order = self.items["item_id"].map(counts).fillna(0).sort_values(ascending=False, kind="stable")
        return {title: place for place, title in enumerate(order.index, 1)}

    def ask(self, question: str, data: bool | None = None, k: int = 10) -> Reply:
        """``data``: whether the folder is named; None: where the question names a user."""
        named = "user " in question.casefold() if data is None else data
        try:
            answer = self.recommender(question, k, data=str(self.data) if named else None)
        except Exception as error:
            if not is_users(error):
                raise
            return Reply("refused", (), None, "", (), str(error))
        titles = tuple(str(item.title) for item in answer.items)
        notes = "\n".join(answer.notes)
        return Reply(answer.kind, titles, answer.value, answer.text, tuple(answer.linked), notes)

    def genres(self, title: str) -> list[str]:
        found = self.items["genres"].get(title, "")
        return str(found).casefold().replace(",", "|").replace(" ", "").split("|")

    def popular(self, titles: Sequence[str]) -> bool:
        """Whether their median place is among the first tenth of the catalogue."""
        places = sorted(self.ranks.get(title, len(self.ranks)) for title in titles)
        return bool(places) and places[len(places) // 2] <= len(self.ranks) / 10


def bare(title: str) -> str:
    """Without year, the article in front, in lower case: "Lion King, The (1994)" → "the lion king"."""
    name = re.sub(r"\s*\([^)]*\)", "", title).strip()
    if match := re.fullmatch(r"(.*), (The|A|An|La|Le|Das|Der|Die|Il|L')", name):
        name = f"{match[2]} {match[1]}"
    return name.casefold()


def year(title: str) -> int:
    found = re.search(r"\((\d{4})\)\s*$", title)
    return int(found[1]) if found else 0


def named(titles: Sequence[str], question: str) -> list[str]:
    """Those of the titles that stand in the question; names below four letters are left alone."""
    text = question.casefold()
    return [title for title in titles if len(bare(title)) > 3 and re.search(rf"\b{re.escape(bare(title))}\b", text)]  # fmt: skip


def similar(world: World, question: str) -> tuple[bool, Reply]:
    reply = world.ask(question)
    right = reply.kind == "items" and bool(reply.items) and not named(reply.items, question)
    if "90s" in question:
        right &= all(1990 <= year(title) <= 1999 for title in reply.items) or reply.tells(("90s", "199"))
    return right, reply


def conditions(world: World, question: str) -> tuple[bool, Reply]:
    """Each condition of the question is kept, or named in a note."""
    reply, text = world.ask(question), question.casefold()
    kept = []
    for word, genre, told in (("comed", "comedy", "comed"), ("sci-fi", "sci-fi", "sci"), ("no horror", "horror", "horror")):  # fmt: skip
        if word in text:
            has = [genre in world.genres(title) for title in reply.items]
            kept.append((not any(has) if word.startswith("no ") else all(has)) or reply.tells(told))
    if count := re.search(r"\b(\d{1,2})\b", text):
        kept.append(len(reply.items) == int(count[1]) or reply.tells(count[1]))
    if "all time" in text:
        kept.append(world.popular(reply.items) or reply.tells(("all time", "best")))
    if "director" in text:
        return reply.tells("director"), reply
    return reply.kind == "items" and bool(reply.items) and bool(kept) and all(kept), reply


def dislikes(world: World, question: str) -> tuple[bool, Reply]:
    reply, text = world.ask(question), question.casefold()
    names = [name for name in SEQUELS if name in text]
    words = [word for name in names for word in SEQUELS[name]]
    right = reply.kind == "items" and bool(reply.items)
    right &= not any(re.search(rf"\b{word}", title.casefold()) for word in words for title in reply.items)
    if "titanic" in text:  # has no sequel: taken as liked, it gives the list of two liked films
        both = world.ask("I loved Titanic and I loved Braveheart. What next?")
        right &= reply.items != both.items
    return right, reply


def nothing_known(world: World, question: str) -> tuple[bool, Reply]:
    """Popular items, marked as such, and unknown names told; a film found after all is a history."""
    reply, text = world.ask(question), question.casefold()
    if reply.kind != "items" or not reply.items:
        return False, reply
    popular = world.popular(reply.items) and reply.tells(("popular", "most people", "most liked"))
    if re.search(r"star ?war[sz]", text):
        found = any(title.startswith("Star Wars") for title in reply.linked)
        return found or (popular and reply.tells("star war")), reply
    if "matrix" in text:
        return popular and reply.tells("matrix", "inception"), reply
    if re.search(r"\d+, \d+", text):
        return len(reply.linked) >= 3 or (popular and reply.tells(("50", "181"))), reply
    return popular, reply


RIGHT_FILMS = (
    (r"godfather", r"^Godfather: Part II, The", r"^Godfather, The"),
    (r"terminator", r"^Terminator 2", r"^Terminator, The"),
    (r"fugitive", r"^Fugitive, The", r"^Land Before"),
    (r"a v and", None, r"^Land Before"),
)


def film_meant(world: World, question: str) -> tuple[bool, Reply]:
    parts = question.split(" / ")
    if len(parts) > 1:
        for part in parts:
            right, reply = film_meant(world, f"I loved {part}, what next?")
            if not right:
                break
        return right, reply
    reply = world.ask(question)
    for pattern, right, wrong in RIGHT_FILMS:
        if not re.search(pattern, question.casefold()):
            continue
        if any(re.search(wrong, title) for title in reply.linked):
            return False, reply
        found = right is None or any(re.search(right, title) for title in reply.linked)
        return found or reply.tells(pattern, KNOWS_NOT), reply
    if when := re.search(r"\b(19\d\d)\b", question):
        wrong = any(title.startswith("Land Before") for title in reply.linked)
        kept = bool(reply.items) and all(year(title) == int(when[1]) for title in reply.items)
        return not wrong and (kept or reply.tells(when[1])), reply
    return False, reply


def no_question(world: World, question: str) -> tuple[bool, Reply]:
    reply = world.ask(question)
    if " vs " in question:
        both = {bare(title) for title in reply.items} == set(question.casefold().split(" vs "))
        return both or (reply.value is None and reply.tells(HELP)), reply
    foreign = bool(re.search(r"[^\x00-\x7f]|que regarder|soll ich|conseilles", question.casefold()))
    told = reply.tells(LANGUAGE if foreign else HELP)
    return reply.kind in ("text", "refused") and reply.value is None and told, reply


def several(world: World, question: str) -> tuple[bool, Reply]:
    reply, text = world.ask(question), question.casefold()
    second = "heat" if "heat" in text else text.rsplit("user", 1)[1].split()[0]
    users = [] if second == "heat" else [f"user {second}"]
    alternatives = [*users, "several", "two questions", "two people", "second question", "one at a time", "only the first"]  # fmt: skip
    if second == "heat":
        alternatives.append("heat")
    return reply.tells(alternatives), reply


def scale(world: World, question: str) -> tuple[bool, Reply]:
    reply = world.ask(question)
    if reply.tells(("scale", "of 10", "/10", "out of ten")):
        return True, reply
    heeded = [question.replace("9/10", high).replace("2/10", "1") for high in ("5", "4.5")]
    values = [world.ask(other).value for other in heeded]
    near = [value for value in values if value is not None and reply.value is not None and abs(value - reply.value) < 0.005]  # fmt: skip
    return bool(near), reply


def facts(world: World, question: str) -> tuple[bool, Reply]:
    """Without the data "I don't know"; with it the same, or the data's own answer."""
    rows = world.interactions
    for data in (False, True):
        reply = world.ask(question, data)
        unknown = reply.value is None and not reply.items
        right = unknown and reply.tells(("don't know", "do not know", "cannot", "not known", "no facts"))
        user = re.search(r"user (\w+)", question)
        if data and user and not right:
            own = rows[rows["user_id"] == user[1]]
            if "last" in question:
                last = set(own[own["timestamp"] == own["timestamp"].max()]["item_id"])
                titles = set(titles_with(world, last))
                right = bool(titles & set(reply.items[:1])) or any(
                    title.casefold() in reply.words for title in titles
                )
                right &= len(reply.items) <= len(last)
            else:
                film = [t for t in world.items.index if named([t], question)]
                given = own[own["item_id"].isin(world.items.loc[film, "item_id"])]["rating"]
                right = (
                    not given.empty
                    and (
                        reply.value == given.iloc[0]
                        or re.search(rf"\) {given.iloc[0]:g}\b", reply.words) is not None
                    )
                    and reply.tells(("data", "gave", "rated"))
                )
        if not right:
            return False, reply
    return True, reply


def titles_with(world: World, items: set[str]) -> list[str]:
    return [title for title, item in world.items["item_id"].items() if item in items]


JUDGES: dict[str, Callable[[World, str], tuple[bool, Reply]]] = {
    "K4": similar, "K5": conditions, "K6": dislikes, "K7": nothing_known, "K13": scale,
    "K24": film_meant, "K25": no_question, "K26": several, "K27": facts,
}  # fmt: skip


def questions(cases: Path) -> list[dict[str, str]]:
    with open(cases / "questions.tsv", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def run(cases: Path, world: World, kinds: Sequence[str] = ()) -> list[Verdict]:
    """A verdict a question of the file (of the kinds, if any are named)."""
    out = []
    for number, row in enumerate(questions(cases), 1):
        if kinds and row["kind"] not in kinds:
            continue
        question = re.sub(r"\s*\(with --data[^)]*\)\s*$", "", row["question"])
        try:
            right, reply = JUDGES[row["kind"]](world, question)
            got = str(reply)
        except Exception as error:  # a question must never end so
            right, got = False, f"{type(error).__name__}: {error}"
        expected = f"{row['question']} → {row['expected']}"
        out.append(Verdict(f"Q{number:02d}", row["kind"], right, expected, got))
    return out

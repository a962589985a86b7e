"""The question benchmark: is a typed question read as the request its writer meant?

    p5t5 prepare ml-100k --attribute_explanations false --out runs/questions-ml
    python benchmarks/questions.py --movielens runs/questions-ml --part dev --show_wrong
    python benchmarks/questions.py --movielens runs/questions-ml --part held_out

No model is involved: the parser alone is judged, against `benchmarks/questions/*.yaml` (schema, conventions and
measures: `benchmarks/questions/README.md`). A third of the questions is held out by a hash of the text; for it,
single questions are never shown, so that nobody tunes on them. One JSON line a (data set, kind) goes to --out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

FOLDER = Path(__file__).parent / "questions"
DATA_SETS = ("movielens", "shop", "books")
SETS = {"first": 3, "second": 2}  # one in so many is held out
ROLES = ("items", "liked", "disliked", "seen", "candidates")
SINGULAR = {"genres": "genre", "categories": "category", "authors": "author", "brands": "brand"}
Range = tuple[float | None, float | None]
Parser = Callable[[str], Any]


def parser_for(items: pd.DataFrame) -> Parser:
    """Text → Request over ``items`` (``item_id``, ``title``, a column an attribute), None where it is refused with
    a UserError. The only place that knows the parser's signature."""
    try:
        from p5t5.core.errors import UserError
        from p5t5.questions.parsing import Vocabulary, parse_request
    except ImportError as error:
        raise SystemExit(f"benchmarks/questions.py: no parser to judge: {error}") from error
    vocabulary = Vocabulary.of_items(items)

    def parse(text: str) -> Any:
        try:
            return parse_request(text, vocabulary)
        except UserError:
            return None

    return parse


def part_of(text: str, questions: str = "first") -> str:
    """ "held_out" for about a third of the first set's texts and half of the second's, "dev" for the others; depends
    on the text alone."""
    return "held_out" if hashlib.sha256(text.encode()).digest()[0] % SETS[questions] == 0 else "dev"


def load_questions(name: str, questions: str = "first") -> list[dict[str, Any]]:
    prefix = "" if questions == "first" else f"{questions}_"
    return yaml.safe_load((FOLDER / f"{prefix}{name}.yaml").read_text(encoding="utf-8"))


def load_items(name: str, movielens: Path | None = None) -> pd.DataFrame:
    """The catalogue of a data set as text columns; ``movielens``: a data folder made by `p5t5 prepare ml-100k`."""
    if name != "movielens":
        return pd.read_csv(FOLDER / f"{name}_items.csv", dtype=str)
    table = (movielens / "items.parquet") if movielens else None
    if table is None or not table.exists():
        raise SystemExit(
            "benchmarks/questions.py: --movielens must name a data folder with items.parquet; make it with "
            "`p5t5 prepare ml-100k --attribute_explanations false --out FOLDER`, or leave movielens out with --data"
        )
    return pd.read_parquet(table).astype(str)


@dataclass(frozen=True)
class Reading:
    """What a question was read as, items by title, in a form in which two readings can be compared.

    ``noted``: the asker is told that something was not understood or cannot be met, or gets help.
    """

    intent: str
    roles: frozenset[tuple[str, str]] = frozenset()
    ratings: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    people: frozenset[str] = frozenset()
    where: Mapping[str, frozenset[str] | Range] = field(default_factory=dict)
    without: Mapping[str, frozenset[str] | Range] = field(default_factory=dict)
    count: int | None = None
    newer_than: str | None = None
    older_than: str | None = None
    noted: bool = False

    @property
    def has_conditions(self) -> bool:
        return bool(self.where or self.without or self.count or self.newer_than or self.older_than)


def _is_range(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) == 2
        and all(end is None or isinstance(end, int | float) for end in value)
    )


def _conditions(given: Mapping[str, Any] | None) -> dict[str, frozenset[str] | Range]:
    """Attribute names in the singular; values as a set of lower-case texts or a range (None: open)."""
    found: dict[str, frozenset[str] | Range] = {}
    for name, value in (given or {}).items():
        name = SINGULAR.get(name.casefold(), name.casefold())
        if _is_range(value):
            found[name] = (value[0], value[1])
        elif isinstance(value, int | float):
            found[name] = (value, value)
        else:
            values = [value] if isinstance(value, str) else value
            found[name] = frozenset(str(one).casefold() for one in values)
    return found


def _noted(intent: str, said: Mapping[str, Any]) -> bool:
    return (
        intent == "help"
        or any(said.get(name) for name in ("unknown", "unclear", "unmet", "assumed"))
        or len(said.get("people") or ()) > 1
        or (said.get("parts") or 1) > 1
        or (said.get("language") or "en") != "en"
    )


def _reading(said: Mapping[str, Any]) -> Reading:
    """``said``: a question's row, or a request as such a row."""
    return Reading(
        intent=said["intent"],
        roles=frozenset((role, title) for role in ROLES for title in said.get(role) or ()),
        ratings={title: (float(v), top) for title, (v, top) in (said.get("ratings") or {}).items()},
        people=frozenset(str(person).casefold() for person in said.get("people") or ()),
        where=_conditions(said.get("where")),
        without=_conditions(said.get("without")),
        count=said.get("count"),
        newer_than=said.get("newer_than"),
        older_than=said.get("older_than"),
        noted=_noted(said["intent"], said),
    )


def readings_of_row(row: Mapping[str, Any]) -> list[Reading]:
    """The reading that was meant, then the other ones that are as good (``or``)."""
    return [_reading(row), *(_reading(other) for other in row.get("or", ()))]


def reading_of_request(request: Any, titles: Sequence[str]) -> Reading:
    """A parser's Request, whose items are rows of ``titles``."""

    def title(item: Any) -> str | None:
        return None if item is None else titles[int(item)]

    said: dict[str, Any] = {role: [titles[int(item)] for item in getattr(request, role)] for role in ROLES}
    said |= {"ratings": {titles[int(item)]: value for item, value in dict(request.ratings).items()}}
    said |= {name: dict(getattr(request, name)) for name in ("where", "without")}
    said |= {name: title(getattr(request, name)) for name in ("newer_than", "older_than")}
    plain = ("intent", "people", "count", "language", "unknown", "unclear", "unmet", "assumed", "parts")
    return _reading(said | {name: getattr(request, name) for name in plain})


def _same_condition(meant: Any, got: Any) -> bool:
    """Where one end is open the other may be off by one: "before 1960" is (None, 1959) or (None, 1960)."""
    if not (isinstance(meant, tuple) and isinstance(got, tuple)):
        return meant == got
    slack = 1 if None in meant else 0
    return all(
        (a is None) == (b is None) and (a is None or b is None or abs(a - b) <= slack)
        for a, b in zip(meant, got, strict=True)
    )


def same_conditions(meant: Reading, got: Reading) -> bool:
    if (meant.count, meant.newer_than, meant.older_than) != (got.count, got.newer_than, got.older_than):
        return False
    for a, b in ((meant.where, got.where), (meant.without, got.without)):
        if a.keys() != b.keys() or not all(_same_condition(a[name], b[name]) for name in a):
            return False
    return True


def linked(reading: Reading, rated: Iterable[str]) -> frozenset[tuple[str, str]]:
    """(role, title) pairs, rated items with the role "ratings" only, however else they are listed as taste."""
    taste = {(role, title) for role in ("liked", "disliked", "seen") for title in rated}
    return (reading.roles - taste) | {("ratings", title) for title in reading.ratings}


def _same_ratings(meant: Reading, got: Reading) -> bool:
    """Same values; a scale that was not said may be filled in."""
    return meant.ratings.keys() == got.ratings.keys() and all(
        value == got.ratings[title][0] and (top is None or top == got.ratings[title][1])
        for title, (value, top) in meant.ratings.items()
    )


@dataclass(frozen=True)
class Verdict:
    """One question's result; ``conditions`` is None where they are not judged, or neither side has any."""

    kind: str
    intent: bool
    hits: int
    missed: int
    extra: int
    conditions: bool | None
    judged_conditions: bool
    told: bool | None
    needless: bool | None
    false_answer: bool

    @property
    def right(self) -> bool:
        return (
            self.intent
            and not (self.missed or self.extra or self.false_answer)
            and self.conditions is not False
            and self.told is not False
        )


def _against(meant: Reading, got: Reading, kind: str) -> Verdict:
    help_meant = meant.intent == "help"
    rated = {*meant.ratings, *got.ratings}
    a, b = (frozenset(), frozenset()) if help_meant else (linked(meant, rated), linked(got, rated))
    judged = meant.intent not in ("help", "lookup")
    conditions = same_conditions(meant, got) if judged else True
    others = help_meant or (meant.people == got.people and _same_ratings(meant, got))
    intent = meant.intent == got.intent
    return Verdict(
        kind=kind,
        intent=intent,
        hits=len(a & b),
        missed=len(a - b),
        extra=len(b - a),
        conditions=conditions if judged and (meant.has_conditions or got.has_conditions) else None,
        judged_conditions=judged,
        told=got.noted if meant.noted else None,
        needless=None if meant.noted else got.noted,
        false_answer=not got.noted and (meant.noted or not (intent and a == b and conditions and others)),
    )


def judge(row: Mapping[str, Any], got: Reading) -> Verdict:
    """Against the reading that suits best, of those the row allows."""
    verdicts = [_against(meant, got, row["kind"]) for meant in readings_of_row(row)]
    return min(
        verdicts,
        key=lambda v: (not v.right, v.false_answer, not v.intent, v.missed + v.extra, v.conditions is False),
    )


def _share(values: Iterable[bool]) -> float | None:
    values = list(values)
    return round(sum(values) / len(values), 4) if values else None


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The measures of `benchmarks/questions/README.md`; None where no question is concerned."""
    pairs = sum(2 * v.hits + v.missed + v.extra for v in verdicts)
    return {
        "questions": len(verdicts),
        "right": _share(v.right for v in verdicts),
        "intent": _share(v.intent for v in verdicts),
        "items_f1": round(2 * sum(v.hits for v in verdicts) / pairs, 4) if pairs else None,
        "conditions": _share(v.conditions for v in verdicts if v.conditions is not None),
        "conditions_all": _share(v.conditions is not False for v in verdicts if v.judged_conditions),
        "told": _share(v.told for v in verdicts if v.told is not None),
        "needless_notes": _share(v.needless for v in verdicts if v.needless is not None),
        "false_answers": _share(v.false_answer for v in verdicts),
    }


def ask(parse: Parser, text: str, titles: Sequence[str]) -> Reading:
    """A refusal (None) is a reading too: no intent, and the asker is told."""
    request = parse(text)
    return Reading(intent="refused", noted=True) if request is None else reading_of_request(request, titles)


def result_lines(part: str, verdicts: Mapping[str, Sequence[Verdict]]) -> list[dict[str, Any]]:
    """All questions, then each data set, then each kind over all data sets."""
    everything = [verdict for of_set in verdicts.values() for verdict in of_set]
    kinds: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in everything:
        kinds[verdict.kind].append(verdict)
    order = sorted(kinds, key=lambda kind: (kind == "plain", int(kind[1:]) if kind[1:].isdigit() else 0))
    groups = [("all", "all", everything)]
    groups += [(name, "all", list(of_set)) for name, of_set in verdicts.items()]
    groups += [("all", kind, kinds[kind]) for kind in order]
    return [{"part": part, "data": data, "kind": kind, **summary(group)} for data, kind, group in groups]


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the lines of the same part, keeps those of the other."""
    old = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    kept = [line for line in old if line["part"] != lines[0]["part"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in [*kept, *lines]))


def _show(row: Mapping[str, Any], got: Reading) -> None:
    meant = readings_of_row(row)[0]
    print(f"\n{row['kind']}  {row['text']}")
    for name in Reading.__dataclass_fields__:
        a, b = getattr(meant, name), getattr(got, name)
        if a != b:
            print(f"    {name}: meant {a or None}, read {b or None}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("dev", "held_out"), default="dev")
    parser.add_argument("--set", choices=tuple(SETS), default="first", help="which set of questions")
    parser.add_argument("--data", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    parser.add_argument("--movielens", type=Path, help="data folder of `p5t5 prepare ml-100k`")
    parser.add_argument(
        "--show_wrong", action="store_true", help="print every question read wrongly (dev only)"
    )
    parser.add_argument("--out", type=Path, help="JSON lines, e.g. results/questions.jsonl")
    options = parser.parse_args(argv)
    if options.show_wrong and options.part == "held_out":
        parser.error("--show_wrong is for --part dev: whoever sees the held-out questions tunes on them")
    verdicts: dict[str, list[Verdict]] = {}
    for name in options.data:
        items = load_items(name, options.movielens)
        parse, titles = parser_for(items), items["title"].tolist()
        verdicts[name] = []
        for row in load_questions(name, options.set):
            if part_of(row["text"], options.set) != options.part:
                continue
            got = ask(parse, row["text"], titles)
            verdicts[name].append(judge(row, got))
            if options.show_wrong and not verdicts[name][-1].right:
                _show(row, got)
    part = options.part if options.set == "first" else f"{options.set}_{options.part}"
    lines = result_lines(part, verdicts)
    print(pd.DataFrame(lines).drop(columns="part").to_string(index=False))
    if options.out:
        write_lines(options.out, lines)


if __name__ == "__main__":
    main()

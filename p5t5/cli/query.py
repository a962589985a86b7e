"""``p5t5 query``: a question in plain text → an answer."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from p5t5.cli.main import run
from p5t5.cli.options import parse, quick_start, quiet
from p5t5.core.display import shown_title
from p5t5.core.errors import UserError
from p5t5.core.options import option, required

EXAMPLE = """p5t5 query "I loved Alien (1979) and Fargo (1996). What should I watch next?" --model runs/quickstart/model
  p5t5 query --model runs/quickstart/model < questions.txt"""


@dataclass
class QueryOptions:
    """Whom to ask, and what."""

    model: str = required("a fine-tuned model's folder or Hub id")
    text: list[str] = field(
        default_factory=list, metadata={"help": "questions; none: one a line is read from standard input"}
    )
    k: int = option(10, "how many items to list")
    data: str = option("", "a data folder: the histories of the users that questions name")
    include_seen: bool = option(False, "recommend items of the history too")
    where: list[str] = field(
        default_factory=list,
        metadata={
            "help": "conditions beside what the question says: genre=Comedy year=1990..1999 (several of one: any)"
        },
    )
    without: list[str] = field(default_factory=list, metadata={"help": "as --where, to be left out"})
    exclude: list[str] = field(default_factory=list, metadata={"help": "items never to list: ids or titles"})
    show_request: bool = option(False, "show what the question was read as, as JSON")
    json: bool = option(False, "one JSON object a line instead of text")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("query", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    (options,) = parse(
        (QueryOptions,),
        argv,
        name="query",
        about="Answers questions in plain text: titles and ids in them are linked to the catalogue.",
        example=EXAMPLE,
        words="text",
    )
    with quick_start():
        from p5t5.questions.attributes import written_conditions
        from p5t5.recommender import Recommender

        where = written_conditions(options.where, "--where")
        without = written_conditions(options.without, "--without")
        quiet()
        recommender = Recommender.from_pretrained(options.model)
        recommender.vocabulary  # noqa: B018 made on first use, which is now
    code = 0
    for question in options.text or _lines():
        try:
            answer = recommender(
                question,
                options.k,
                data=options.data or None,
                exclude_seen=not options.include_seen,
                where=where,
                without=without,
                exclude=options.exclude,
            )
        except UserError as error:
            if len(options.text) == 1 or not 1 <= options.k <= len(recommender.catalogue):
                raise
            refused = {"question": question, "error": str(error)}
            shown = f"? {' '.join(question.split())}\n  ! {error}"
            print(json.dumps(refused, ensure_ascii=False) if options.json else shown, flush=True)
            code = 2  # the other questions are answered all the same
            continue
        request = recommender.request(question).as_json(recommender.catalogue.item_ids)
        read = {"request": request} if options.show_request else {}
        if options.json:
            found = {"question": question, **read, **dataclasses.asdict(answer)}
            print(json.dumps(found, ensure_ascii=False), flush=True)
        else:
            print(_shown(question, answer), flush=True)
            if options.show_request:
                print(f"  · request {json.dumps(request, ensure_ascii=False)}", flush=True)
    return code


def _lines() -> Iterator[str]:
    """Questions from standard input, with a prompt where a person types them."""
    if sys.stdin.isatty():
        print("Ask, one question a line; an empty line ends it.", file=sys.stderr)
    for line in sys.stdin:
        if line.strip():
            yield line
        elif sys.stdin.isatty():
            return


def _shown(question: str, answer) -> str:
    """The question, the answer, and how it was understood."""
    lines = [f"? {' '.join(question.split())}"]
    if answer.kind == "items":
        lines += [
            f"{place:4d}. {shown_title(item.title)}  [{item.item_id}]  {item.score:.2f}"
            for place, item in enumerate(answer.items, 1)
        ]
    else:
        lines.append(f"  = {answer}")
    asked = answer.asked if len(answer.asked) <= 100 else answer.asked[:97] + "…"
    how = f"prompt {answer.prompt} ({answer.task}, similarity {answer.similarity:.2f}): {asked}"
    lines.append(f"  · {how if answer.prompt else 'no prompt'}")
    lines += [f"  · {note}" for note in answer.notes]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""``p5t5 recommend``: recommendations for many users → Parquet, CSV or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from p5t5.cli.main import run
from p5t5.cli.options import option, parse, required
from p5t5.core.errors import UserError

EXAMPLE = """p5t5 recommend --model runs/quickstart/model --data runs/quickstart/data --out recommendations.csv
  p5t5 recommend --model runs/quickstart/model --data runs/quickstart/data --users 17 42 --k 5 --out two.jsonl"""
CHUNK = 2048  # users whose prompts are rendered at a time


@dataclass
class RecommendOptions:
    """Whom to recommend what, and where to write it."""

    model: str = required("a fine-tuned model's folder or Hub id")
    data: str = required("the data folder with the users' histories")
    out: str = required("the file to write: .parquet, .csv or .jsonl (user_id, rank, item_id, title, score)")
    users: list[str] = field(default_factory=list, metadata={"help": "user ids; none: all users of the data"})
    users_file: str = option("", "a file with a user id a line")
    k: int = option(10, "items a user")
    include_seen: bool = option(False, "recommend items of the history too")
    fusion: bool = option(False, "rank by the fusion that `p5t5 evaluate --fusion` saved beside the model")
    token_budget: int = option(8192, "prompt tokens a batch, padding included")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("recommend", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    (options,) = parse(
        (RecommendOptions,),
        argv,
        name="recommend",
        about="Writes the k best items for users of a data folder, from their whole histories.",
        example=EXAMPLE,
    )
    write = _writer(Path(options.out))
    if options.token_budget < 1:
        raise UserError(f"--token_budget {options.token_budget}: must be at least 1.")
    import pandas as pd
    from tqdm import tqdm

    from p5t5.cli.model_setup import quiet
    from p5t5.data.records.loading import load
    from p5t5.recommender import Recommender

    data = load(Path(options.data))
    users = _users(options, data.user_ids.tolist())
    quiet()
    recommender = Recommender.from_pretrained(options.model, fusion=options.fusion)
    rows = []
    with tqdm(total=len(users), unit=" users", desc="recommending") as bar:
        for start in range(0, len(users), CHUNK):
            part = users[start : start + CHUNK]
            answers = recommender.recommend_many(
                part,
                data,
                k=options.k,
                exclude_seen=not options.include_seen,
                token_budget=options.token_budget,
                progress=bar.update,
            )
            rows += [
                (user, rank, item.item_id, item.title, item.score)
                for user, items in zip(part, answers, strict=True)
                for rank, item in enumerate(items, 1)
            ]
    write(pd.DataFrame(rows, columns=["user_id", "rank", "item_id", "title", "score"]))
    print(f"{len(rows)} recommendations for {len(users)} users → {options.out}")


def _users(options: RecommendOptions, known: Sequence[str]) -> list[str]:
    """The users asked for, each once; UserError for one that the data lacks."""
    wanted = list(options.users)
    if options.users_file:
        path = Path(options.users_file)
        if not path.is_file():
            raise UserError(f"--users_file: there is no file {path}.")
        try:
            # Windows' editors put a mark before the first id.
            lines = path.read_text("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"--users_file: {path} is not UTF-8 text; save it as UTF-8.") from error
        wanted += [line.strip() for line in lines if line.strip()]
        if not wanted:
            raise UserError(f"--users_file: {path} holds no user id; put one on each line.")
    known_set = set(known)
    unknown = [user for user in wanted if user not in known_set]
    if unknown:
        raise UserError(
            f"--users: {', '.join(unknown[:5])} not among the {len(known)} users of {options.data}."
        )
    return list(dict.fromkeys(wanted)) or list(known)


def _writer(path: Path):
    """A function that writes a DataFrame to ``path``, whole or not at all; UserError for another suffix."""
    writers = {
        ".parquet": lambda frame, file: frame.to_parquet(file, index=False),
        ".csv": lambda frame, file: frame.to_csv(file, index=False),
        ".jsonl": lambda frame, file: frame.to_json(file, orient="records", lines=True, force_ascii=False),
    }
    if path.suffix not in writers:
        raise UserError(f"--out {path}: the name must end in .parquet, .csv or .jsonl.")

    def write(frame) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            writers[path.suffix](frame, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    return write


if __name__ == "__main__":
    sys.exit(main())

"""Recommendations for many users of a data folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_path
from p5t5.core.options import from_keywords, option, required
from p5t5.workflows.model_setup import LOG, Log

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["user_id", "rank", "item_id", "title", "score"]
USERS_AT_ONCE = 2048  # whose prompts are rendered at a time


@dataclass
class RecommendOptions:
    """Whom to recommend what, and where to write it."""

    model: str = required("a fine-tuned model's folder or Hub id")
    data: str = required("the data folder with the users' histories")
    out: str = required("the file to write: .parquet, .csv or .jsonl (user_id, rank, item_id, title, score)")
    users: list[str] = option([], "user ids; none: all users of the data")
    users_file: str = option("", "a file with one user id per line")
    k: int = option(10, "items per user")
    include_seen: bool = option(False, "recommend items of the history too")
    where: list[str] = option(
        [], "only items that meet these: genre=Comedy year=1990..1999 (several of one: any)"
    )
    without: list[str] = option([], "as --where, to be left out")
    exclude: list[str] = option([], "items never to recommend: ids or titles")
    diversity: float = option(
        0.0, "0: the model's order; towards 1: each item as unlike those above it as can be"
    )
    fusion: bool | None = option(
        None,
        "rank by the blend with baselines that `p5t5 evaluate` saved beside the model (by default where it is there)",
    )
    token_budget: int = option(8192, "prompt tokens per batch, padding included")
    overwrite: bool = option(False, "replace a file in --out that does not hold recommendations")


def recommend(
    data: str | Path, model: str | Path, out: str | Path | None = None, *, log: Log = LOG, **options: Any
) -> pd.DataFrame:
    """The k best items for users of the ``data`` folder, from their whole histories.

    Returns one row per user and rank: user_id (str), rank (int, from 1), item_id (str), title (str), score (float).
    ``out``: a file to write them to as well. ``options``: those of ``p5t5 recommend`` (RecommendOptions), as in
    ``users=["17", "42"], k=5``. Raises UserError for users, data or options that cannot be used.
    """
    given = {"data": data, "model": model, "out": "" if out is None else out, **options}
    (chosen,) = from_keywords("recommend", (RecommendOptions,), given)
    return recommend_with(chosen, log=log)


def recommend_with(options: RecommendOptions, *, log: Log = LOG) -> pd.DataFrame:
    """``recommend`` with an instance of its option class."""
    write = _writer(Path(options.out), options.overwrite) if options.out else None
    if options.token_budget < 1:
        raise UserError(f"--token_budget {options.token_budget}: must be at least 1.")
    import pandas as pd
    from tqdm import tqdm

    from p5t5.data.records.loading import load
    from p5t5.questions.attributes import written_conditions
    from p5t5.recommender import Recommender

    where, without = (
        written_conditions(options.where, "--where"),
        written_conditions(options.without, "--without"),
    )
    data = load(Path(options.data))
    users = _users(options, data.user_ids.tolist())
    recommender = Recommender.from_pretrained(options.model, fusion=options.fusion)
    reranking = recommender.reranking(diversity=options.diversity) if options.diversity else None
    rows = []
    with tqdm(total=len(users), unit=" users", desc="recommending") as bar:
        for start in range(0, len(users), USERS_AT_ONCE):
            part = users[start : start + USERS_AT_ONCE]
            answers = recommender.recommend_many(
                part,
                data,
                k=options.k,
                exclude_seen=not options.include_seen,
                token_budget=options.token_budget,
                progress=bar.update,
                where=where,
                without=without,
                exclude=options.exclude,
                reranking=reranking,
            )
            rows += [
                (user, rank, item.item_id, item.title, item.score)
                for user, items in zip(part, answers, strict=True)
                for rank, item in enumerate(items, 1)
            ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    if write is not None:
        write(table)
        log(f"{len(rows)} recommendations for {len(users)} users → {options.out}")
    return table


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


def _writer(path: Path, overwrite: bool) -> Callable[[pd.DataFrame], None]:
    """A function that writes a DataFrame to ``path``, whole or not at all.

    Raises UserError for a suffix that is not known, and where ``path`` holds something else already.
    """
    writers: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
        ".parquet": lambda table, file: table.to_parquet(file, index=False),
        ".csv": lambda table, file: table.to_csv(file, index=False),
        ".jsonl": lambda table, file: table.to_json(file, orient="records", lines=True, force_ascii=False),
    }
    if path.suffix not in writers:
        raise UserError(f"--out {path}: the name must end in .parquet, .csv or .jsonl.")
    if path.is_dir() or not (overwrite or _is_free(path)):
        raise UserError(
            f"--out {path} exists and does not hold recommendations: name another file, or replace it with --overwrite."
        )

    def write(table: pd.DataFrame) -> None:
        with atomic_path(path) as temporary:
            writers[path.suffix](table, temporary)

    return write


def _is_free(path: Path) -> bool:
    """Whether nothing would be lost at ``path``: no file, an empty one, or earlier recommendations."""
    import pandas as pd
    import pyarrow.parquet as parquet

    if not path.exists() or not path.stat().st_size:
        return True
    try:
        if path.suffix == ".parquet":
            found = parquet.read_schema(path).names
        elif path.suffix == ".csv":
            found = list(pd.read_csv(path, nrows=0))
        else:
            with pd.read_json(path, lines=True, chunksize=1, dtype=False) as chunks:
                found = list(next(iter(chunks)))
    except (ValueError, OSError, StopIteration):
        return False
    return found[: len(COLUMNS)] == COLUMNS

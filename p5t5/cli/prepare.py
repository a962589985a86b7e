"""``p5t5 prepare SOURCE``: raw files → a data folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from p5t5.cli.main import run
from p5t5.core.errors import UserError
from p5t5.data.explanations.build import explained
from p5t5.data.records.building import make_records
from p5t5.data.records.tables import IndexedRecords, Records
from p5t5.data.sampling import draw_keys, drawn
from p5t5.data.sources import amazon, movielens, sequences, simulated, table
from p5t5.data.sources.column_inference import MADE, NONE, OPTIONS
from p5t5.data.splits import SCHEMES, k_core
from p5t5.reporting.data_page import DataReport
from p5t5.tasks.registry import TASKS

REPORT = "report.html"
EXAMPLES = {
    "ml-100k": "p5t5 prepare ml-100k --out data/ml-100k",
    "sequences": "p5t5 prepare sequences --raw DIR --out data/beauty",
    "amazon": "p5t5 prepare amazon --raw DIR --out data/instruments --core 5",
    "table": "p5t5 prepare table 'ratings-*.csv.gz' --items films.csv --out data/mine",
    "simulated": "p5t5 prepare simulated --users 300 --out data/simulated",
}


class _Parser(argparse.ArgumentParser):
    """A wrong command line is a user's mistake like any other: one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the folder and says what is in it, what was dropped, and which tasks it allows."""
    return run("prepare", lambda: _prepare(argv))


def _prepare(argv: Sequence[str] | None) -> int:
    options, unknown = _parser().parse_known_args(argv)
    if unknown:
        raise UserError(
            f"unrecognized arguments: {' '.join(unknown)}; see `p5t5 prepare {options.source} --help`."
        )
    if options.core < 0 or (options.sample_users is not None and options.sample_users < 1):
        raise UserError("--core must be 0 or more, --sample_users 1 or more.")
    records = narrowed(_read(options), options.core, options.sample_users, options.seed, _all_items(options))
    from_reviews, from_attributes = (
        getattr(options, name, False) for name in ("explanations", "attribute_explanations")
    )
    if from_reviews or from_attributes:
        records = explained(records, from_reviews, from_attributes, options.split)
    try:
        data = records.write(options.out)
    except OSError as error:
        raise UserError(f"--out: {options.out} cannot be written: {error}") from error
    report = DataReport(data, records.info, tasks(data))
    report.write(options.out / REPORT)
    print("\n".join(summary_lines(records, data, options.out, report)))
    return 0


def narrowed(
    records: Records, k: int, sample_users: int | None, seed: int, all_items: bool = False
) -> Records:
    """First a sample of the users (by seed), then the k-core; 0 and None leave the records as they are."""
    interactions, steps = records.interactions, []
    if sample_users is not None:
        users = interactions["user_id"].cat.categories
        if sample_users < len(users):
            chosen = drawn(draw_keys(users.tolist(), seed), np.arange(len(users)), sample_users)
            stays = np.zeros(len(users), bool)
            stays[chosen] = True
            interactions = interactions[stays[interactions["user_id"].cat.codes]]
            steps.append(f"{sample_users} of {len(users)} users drawn with seed {seed}")
    if k:
        before = len(interactions)
        interactions = k_core(interactions, k)
        if not len(interactions):
            raise UserError(f"--core {k}: no user and item are left; take a smaller k.")
        steps.append(f"{k}-core: {before} → {len(interactions)} interactions")
    if not steps:
        return records
    info = {**records.info, "steps": [*records.info.get("steps", []), *steps]}
    return make_records(
        records.name,
        interactions,
        records.items,
        records.users,
        records.triples,
        info=info,
        all_items=all_items,
    )


def summary_lines(records: Records, data: IndexedRecords, out: Path, report: DataReport) -> list[str]:
    """What a person wants to know of a fresh data folder, in a few lines."""
    info = records.info
    lines = []
    if "columns" in info:
        read = ", ".join(f"{ours} = {theirs}" for ours, theirs in info["columns"].items())
        others = [option for ours, option in OPTIONS.items() if ours not in (*info["columns"], *MADE)]
        lines += [f"read: {info['rows_read']:,} rows; {read}"]
        lines += [f"read: {note}" for note in info.get("notes", [])]
        lines.append(f"wrong? say it: {' COLUMN, '.join(OPTIONS.values())} COLUMN; {NONE} leaves one out")
        lines += [f"not found: {', '.join(others)}"] if others else []
    lines.append(
        f"{records.name}: {data.number_of_users:,} users, {data.number_of_items:,} items, "
        f"{len(data):,} interactions → {out}"
    )
    lines += [f"step: {step}" for step in info.get("steps", [])]
    where = {problem["reason"]: problem for problem in info.get("problems", [])}
    for reason, number in info.get("dropped", {}).items():
        first = f"; first {where[reason]['first']}; {where[reason]['remedy']}" if reason in where else ""
        lines.append(f"dropped: {number:,} row{'s' if number > 1 else ''} ({reason}){first}")
    if not info.get("dropped"):
        lines.append("dropped: nothing")
    return [*lines, *report.lines(), *tasks(data), f"report: {out / REPORT}"]


def tasks(data: IndexedRecords) -> list[str]:
    """Which tasks the data allow, and what the others lack."""
    missing = {name: task.missing(data) for name, task in TASKS.items()}
    lines = [f"tasks: {', '.join(name for name, columns in missing.items() if not columns)}"]
    for columns in dict.fromkeys(tuple(columns) for columns in missing.values() if columns):
        off = [name for name, needed in missing.items() if tuple(needed) == columns]
        lines.append(f"off: {', '.join(off)}: the data have no column {' and no column '.join(columns)}")
    if not data.has("title"):
        lines.append(
            "note: the items have no titles; only prompts that speak in identifiers are used. If you have titles: "
            "`prepare table … --items FILE --columns title=COLUMN`, and FILE may be that of the interactions"
        )
    return lines


def _read(options: argparse.Namespace) -> Records:
    if options.source == "ml-100k":
        return movielens.read(options.raw)
    if options.source == "sequences":
        return sequences.read(options.raw, options.name, options.all_items)
    if options.source == "amazon":
        return amazon.read(options.raw, options.items, options.name, options.all_items)
    if options.source == "table":
        columns = _mapping(options.columns)
        named = {ours: getattr(options, f"column_{ours}") for ours in OPTIONS}
        columns |= {ours: theirs for ours, theirs in named.items() if theirs}
        return table.read(
            options.raw,
            options.items,
            options.users,
            columns,
            options.name,
            options.separator,
            options.all_items,
            triples=options.triples,
            header=options.header.split(",") if options.header else None,
            rating_step=options.rating_step,
            sample_users=options.sample_users,
            seed=options.seed,
        )
    if options.users < 8 or options.items < 160:
        raise UserError("simulated: --users must be at least 8 and --items at least 160.")
    return simulated.simulate(options.users, options.items, options.seed).records


def _all_items(options: argparse.Namespace) -> bool:
    return bool(getattr(options, "all_items", False))


def _mapping(pairs: list[str]) -> dict[str, str]:
    columns = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise UserError(f"--columns: {pair!r} is not OURS=THEIRS, as in user_id=member.")
        columns[ours] = theirs
    return columns


def _switch(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r} is neither true nor false")
    return word.lower() == "true"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="p5t5 prepare",
        description="Turns raw files into a data folder (Parquet tables that `datasets` loads too).",
        epilog="examples:\n  " + "\n  ".join(EXAMPLES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="source", required=True, metavar="SOURCE", parser_class=_Parser)
    film = _source(commands, "ml-100k", "MovieLens-100K; fetched through pip unless --raw names a copy")
    film.add_argument(
        "--raw", metavar="DIR_OR_ZIP", help="GroupLens' ml-100k folder or zip, or the recbole wheel"
    )
    lines = _source(commands, "sequences", "sequences.txt (a line a user), items.tsv, kg/")
    lines.add_argument("--raw", metavar="DIR", required=True, help="the folder with sequences.txt")
    shop = _source(commands, "amazon", "Amazon reviews as JSON lines, and an item table")
    shop.add_argument(
        "--raw", metavar="DIR_OR_FILE", required=True, help="the reviews, or the folder they are in"
    )
    shop.add_argument(
        "--items", metavar="FILE", help="the item table (default: items.* or meta.* in the folder)"
    )
    own = _source(commands, "table", "your own CSV, TSV, Parquet or JSON lines")
    own.add_argument(
        "raw", metavar="FILE", nargs="+", help="the interactions; several files and globs are one table"
    )
    for ours, option in OPTIONS.items():
        own.add_argument(
            option, dest=f"column_{ours}", metavar="COLUMN",
            help=f"the column that is our {ours}; {NONE}: there is none (default: guessed, and said)",
        )  # fmt: skip
    own.add_argument("--items", metavar="FILE", help="item_id, title, and any attributes")
    own.add_argument("--users", metavar="FILE", help="user_id and any attributes")
    own.add_argument("--triples", metavar="FILE", help="facts about items: head (item_id), relation, tail")
    own.add_argument(
        "--columns",
        metavar="OURS=THEIRS",
        nargs="+",
        default=[],
        help="other names that differ from ours, title=name",
    )
    own.add_argument("--separator", help="of CSV files (default: seen from the header)")
    own.add_argument(
        "--header", metavar="NAME,NAME,…", help="the columns of CSV files whose first line is a row"
    )
    own.add_argument(
        "--rating_step", metavar="X", type=float, help="round ratings to multiples of X (at most 101 values)"
    )
    for command in (shop, own):
        command.add_argument(
            "--explanations", type=_switch, default=True, metavar="true|false",
            help="take a sentence on a feature from each review (default: true; needs `p5t5[explanations]`)",
        )  # fmt: skip
    for command in (film, own):
        command.add_argument(
            "--attribute_explanations", "--attribute-explanations", type=_switch, default=True, metavar="true|false",
            help="where there are no others, write explanations from what items share (default: true)",
        )  # fmt: skip
    for command in (film, shop, own):
        command.add_argument(
            "--split", choices=sorted(SCHEMES), default="loo",
            help="the split that explanations are made for: only its training rows are learnt from (default: loo)",
        )  # fmt: skip
    for command in (lines, shop, own):
        command.add_argument("--name", help="the data set's name (default: from the path)")
        command.add_argument(
            "--all_items", "--all-items", action="store_true", help="keep items that nobody interacted with"
        )
    toy = _source(commands, "simulated", "a simulated shop with a known best answer, for all families")
    toy.add_argument("--users", type=int, default=300, help="how many (default: 300)")
    toy.add_argument("--items", type=int, default=160, help="how many (default: 160)")
    return parser


def _source(commands, name: str, about: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=about,
        description=about,
        epilog=f"example:\n  {EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the data folder goes")
    command.add_argument(
        "--core",
        "--k-core",
        metavar="K",
        type=int,
        default=0,
        help="keep users and items with ≥ K interactions",
    )
    command.add_argument(
        "--sample_users", "--sample-users", metavar="N", type=int, help="keep N users, drawn by --seed"
    )
    command.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    return command

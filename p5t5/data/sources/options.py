"""What `p5t5 prepare` can be told: one dataclass of options per source."""

from __future__ import annotations

from dataclasses import dataclass

from p5t5.core.errors import UserError
from p5t5.core.options import option, required
from p5t5.data.sources.dialects import DialectOptions
from p5t5.data.splits import SCHEMES


@dataclass(kw_only=True)
class SourceOptions:
    """Shared by all sources: where the data folder goes, and which part of the data is kept."""

    out: str = required("folder that the data folder is written to", metavar="DIR")
    overwrite: bool = option(False, "replace the data folder in --out")
    core: int = option(
        0, "keep users and items with at least K interactions", metavar="K", aliases=["--k-core", "--k_core"]
    )
    sample_users: int | None = option(None, "keep N users, drawn by --seed", metavar="N")
    seed: int = option(0, "seed of everything that is drawn")


@dataclass(kw_only=True)
class NamedOptions(SourceOptions):
    """Of the sources whose files are the user's own."""

    name: str | None = option(None, "the data set's name (default: from the path)")
    all_items: bool = option(False, "keep items without interactions")


_ATTRIBUTE_EXPLANATIONS = "where there are no others, write explanations from attributes that items share"
_REVIEW_EXPLANATIONS = "take a sentence on a feature from each review (needs `p5t5[explanations]`)"
_SPLIT = "split whose training rows the explanations are learned from"


@dataclass(kw_only=True)
class MovieLensOptions(SourceOptions):
    """MovieLens-100K."""

    raw: list[str] = option([], "GroupLens' ml-100k folder or zip, or the recbole wheel", metavar="PATH")
    attribute_explanations: bool = option(True, _ATTRIBUTE_EXPLANATIONS)
    split: str = option("loo", _SPLIT, choices=sorted(SCHEMES))


@dataclass(kw_only=True)
class SequencesOptions(NamedOptions):
    """A line per user, items oldest first."""

    raw: list[str] = option(
        [], "the file of sequences, or the folder with sequences.txt, items.tsv and kg/", metavar="PATH"
    )
    items: str | None = option(
        None,
        "a table of item_id, title and attributes (default: items.tsv beside the sequences)",
        metavar="FILE",
    )


@dataclass(kw_only=True)
class AmazonOptions(NamedOptions):
    """Amazon reviews and an item table."""

    raw: list[str] = option([], "the file of reviews, or the folder it is in", metavar="PATH")
    items: str | None = option(
        None, "the item table (default: items.* or meta.* in the folder)", metavar="FILE"
    )
    explanations: bool = option(True, _REVIEW_EXPLANATIONS)
    split: str = option("loo", _SPLIT, choices=sorted(SCHEMES))


def _column(ours: str) -> str | None:
    return option(
        None, f"the column that is our {ours}; none: there is none (default: inferred)", metavar="COLUMN"
    )


@dataclass(kw_only=True)
class TableOptions(NamedOptions):
    """Your own tables."""

    raw: list[str] = option(
        [], "the interactions; several files and globs are read as one table", metavar="FILE"
    )
    user: str | None = _column("user_id")
    item: str | None = _column("item_id")
    rating: str | None = _column("rating")
    time: str | None = _column("timestamp")
    review: str | None = _column("review")
    summary: str | None = _column("summary")
    feature: str | None = _column("feature")
    explanation: str | None = _column("explanation")
    columns: list[str] = option([], "other columns by our name, as in title=name", metavar="OURS=THEIRS")
    items: str | None = option(None, "a table of item_id, title and attributes", metavar="FILE")
    users: str | None = option(None, "a table of user_id and attributes", metavar="FILE")
    triples: str | None = option(None, "facts about items: head (item_id), relation, tail", metavar="FILE")
    separator: str | None = option(
        None, "of text tables, of several characters too, or blanks (default: inferred)", metavar="CHARS"
    )
    header: str | None = option(
        None, "the columns' names where the first line is a row; none: make them up; first: it names them",
        metavar="NAME,NAME,…",
    )  # fmt: skip
    quote: str | None = option(
        None, "quote character, or none: quotes are text (default: inferred)", metavar="CHAR"
    )
    escape: str | None = option(
        None, "\\ where it escapes quotes, or none (default: inferred)", metavar="CHAR"
    )
    encoding: str | None = option(None, "of text, cp1252 say (default: inferred)", metavar="NAME")
    skip_lines: int | None = option(None, "lines before the header (default: inferred)", metavar="N")
    comment: str | None = option(None, "leave out lines that start with it", metavar="CHARS")
    rating_step: float | None = option(
        None, "round ratings to multiples of X (at most 101 values)", metavar="X"
    )
    rating_levels: str | None = option(
        None, "what words mean as ratings, as in bad=1,ok=2,good=3", metavar="WORD=NUMBER,…"
    )
    missing_rating: str | None = option(
        None, "ratings that stand for no rating, as in -1,0; their rows are dropped", metavar="NUMBER,…"
    )
    time_format: str | None = option(
        None,
        "how times are written: dmy or mdy (order of day and month), seconds, milliseconds, microseconds, nanoseconds "
        "(since 1970), excel (days of a spreadsheet), digits (YYYYMMDD…); default: inferred, file by file",
        metavar="FORMAT",
    )
    missing_time: str | None = option(
        None, "times that stand for no time, as in 0,1970-01-01; their rows are dropped", metavar="CELL,…"
    )
    normalize_ids: str | None = option(
        None,
        "make spellings of ids alike in all files: zeros, decimal, case, spaces, unicode, quotes, punctuation, or all",
        metavar="KIND,…",
    )
    attributes: str | None = option(
        None,
        "columns of --items that are kept as attributes; none: no column (default: all but averages and counts over all "
        "interactions)",
        metavar="NAME,…",
    )
    explanations: bool = option(True, _REVIEW_EXPLANATIONS)
    attribute_explanations: bool = option(True, _ATTRIBUTE_EXPLANATIONS)
    split: str = option("loo", _SPLIT, choices=sorted(SCHEMES))

    def dialect(self) -> DialectOptions:
        """What was said of how the files write their rows."""
        return DialectOptions(
            self.separator, self.header, self.quote, self.escape, self.encoding, self.skip_lines, self.comment
        )


@dataclass(kw_only=True)
class KnownOptions(NamedOptions):
    """A public data set whose files are known."""

    raw: list[str] = option([], "the folder, the archive, or the file of interactions", metavar="PATH")
    rating_step: float | None = option(
        None, "round ratings to multiples of X (at most 101 values)", metavar="X"
    )
    explanations: bool = option(True, _REVIEW_EXPLANATIONS)
    attribute_explanations: bool = option(True, _ATTRIBUTE_EXPLANATIONS)
    split: str = option("loo", _SPLIT, choices=sorted(SCHEMES))


@dataclass(kw_only=True)
class SimulatedOptions(SourceOptions):
    """A simulated shop."""

    users: int = option(300, "number of users")
    items: int = option(160, "number of items")


def one_path(raw: list[str]) -> str:
    """The one file or folder of a source that takes one. UserError where it is missing, or there are two."""
    if not raw:
        raise UserError("the following arguments are required: --raw.")
    if len(raw) > 1:
        raise UserError(f"--raw: name one file or folder, not {len(raw)} ({', '.join(raw)}).")
    return raw[0]

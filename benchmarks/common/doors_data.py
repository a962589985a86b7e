"""The data cases of doors.py: inputs of ../shared/cases, and what a right outcome of each is.

A check takes the folder of the cases and returns what is wrong, or "". Right is the reading that a reader of the
check's own gives (doors_truth.py), or a refusal that holds the words of cause and remedy.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from common.doors_run import Outcome, prepared, scratch, shortened
from common.doors_truth import at, differs, json_lines, lines_of, rows_of, titles_of, truth

Words = tuple[str | tuple[str, ...], ...]
NO_MATCH = ("match", "none of the", "not one of", "no id of", " 0 of ")
CHECKS: dict[str, tuple[Callable[[Path], tuple[str, str]], ...]] = {}


def case(name: str, *checks: Callable[[Path], tuple[str, str]]) -> None:
    """``checks``: every one must be right; each returns (what is wrong or "", what was printed)."""
    CHECKS[name] = checks


def table(
    file: str,
    want: Callable[[Path], pd.DataFrame] | None = None,
    refusal: Words | None = None,
    *,
    options: tuple[str, ...] = (),
    ratings: str = "same",
    also: Callable[[Outcome], str] | None = None,
    unless: tuple[str, ...] = (),
    source: str = "table",
    remark: Words | None = None,
) -> Callable[[Path], tuple[str, str]]:
    """`p5t5 prepare SOURCE FILE OPTIONS`: right if read as ``want`` (and ``also`` finds nothing wrong), or if
    refused in the words of ``refusal`` and none of ``unless``. ``@`` in options is the cases' folder.
    ``remark``: a line that must be printed where the file is read.
    """

    def check(cases: Path) -> tuple[str, str]:
        extra = [option.replace("@", str(cases)) for option in options]
        first = ["--raw", str(cases / file)] if source != "table" else [str(cases / file)]
        with prepared(source, *first, *extra) as out:
            return judged(out, cases), out.words

    def judged(out: Outcome, cases: Path) -> str:
        if out.code != 0:
            fine = refusal is not None and out.refused(*refusal) and not any(map(out.holds, unless))
            return "" if fine else "a refusal without cause and remedy" if out.code == 2 else "a failure"
        if out.interactions.empty:
            return "nothing was written"
        wrong = differs(out, want(cases), ratings) if want is not None else ""
        if not wrong and also is not None:
            wrong = also(out)
        if not wrong and remark is not None and not out.line_holds(*remark):
            wrong = "read without the remark it needs"
        return wrong

    return check


def cells(file: str, places=(0, 1, 2, 3), style="seconds", separator=",", skip=1, **reader):
    """A reader of a delimited file whose places are user, item, rating, time (None: the file has none)."""

    def read(cases: Path) -> pd.DataFrame:
        rows = rows_of(lines_of(cases / file)[skip:], separator, **reader)
        user, item, rating, time = places
        return truth(rows, user, item, rating, None if time is None else at(time, style))

    return read


def titled(wanted: dict[str, str] | int) -> Callable[[Outcome], str]:
    def check(out: Outcome) -> str:
        found = titles_of(out)
        if isinstance(wanted, int):
            return "" if len(found) == wanted else f"{len(found)} titles instead of {wanted}"
        return "" if all(found.get(item) == title for item, title in wanted.items()) else "other titles"

    return check


def python_dict(line: str) -> dict:
    return ast.literal_eval(line)


def netflix_rows(path: Path) -> pd.DataFrame:
    film, rows = "", []
    for line in lines_of(path):
        if line.endswith(":"):
            film = line[:-1]
        elif line:
            rows.append([*line.split(","), film])
    return truth(rows, 0, 3, 1, at(2, "%Y-%m-%d"))


def json_rows(cases: Path) -> list[dict]:
    return json.loads((cases / "json/wrapped.json").read_text("utf-8"))["data"]


def untrainable(file: str, cases: Path) -> tuple[str, str]:
    words = ("cannot be trained", "can not be trained", "nothing to train", "too few", "not enough", "no user has", "cannot train", "nothing can be trained")  # fmt: skip
    with prepared("table", str(cases / f"sizes/{file}.csv")) as out:
        return "" if out.code in (0, 2) and out.line_holds(words) else "not told", out.words


# Separators and quotes
ML = partial(cells, separator="::", skip=0)
case("D01", *(table(f"ml1m/ratings.{e}", ML("ml1m/ratings.dat"), ("::", ("--separator", "convert", "replace"))) for e in ("dat", "csv")))  # fmt: skip
RECBOLE = {"3": "Alien Orchard", "7": '"Great" Pretender, The', "4": "Café Noir"}
case("D03", *(table(f"recbole/shop.inter{e}", cells("recbole/shop.inter", separator="\t"), options=("--items", f"@/recbole/shop.item{e}"), also=titled(RECBOLE)) for e in ("", ".tsv")))  # fmt: skip
case("D04", table("surprise/play.tsv", cells("surprise/play.tsv", (0, 1, 2, None), separator="\t", skip=0), ("--header",), ratings="any", remark=("header",)))  # fmt: skip
case("D05", table("surprise/spaces.csv", cells("surprise/spaces.csv", separator=" ", skip=0), (("--separator", "a space", "by spaces", "blanks"),)))  # fmt: skip
case("D14",
    table("lastfm/plays.tsv", refusal=("--header",)),
    table("lastfm/plays.tsv", lambda c: truth([line.split("\t") for line in lines_of(c / "lastfm/plays.tsv") if line.split("\t")[2].strip()], 0, 2), options=("--header", "user_id,mbid,item_id,plays"), ratings="any"),
)  # fmt: skip
case("D26", table("decimalcomma/sep_line.csv", lambda c: german(c, "sep_line.csv", 2), ("sep=", ("--skip_lines", "first line"))))  # fmt: skip
case("D25", table("decimalcomma/small.csv", lambda c: german(c, "small.csv", 1), ("bewertung", "4,0")))
PLAIN = "user_id,item_id,rating,timestamp"
case("D52", table("headers/blankfirst.csv", cells("headers/blankfirst.csv", skip=3)))
case("D53",
    table("headers/comment.csv", cells("headers/comment.csv", skip=3), ("# exported", ("--comment", "--skip_lines", "delete", "remove"))),
    table("headers/title_line.csv", cells("headers/title_line.csv", skip=2), ("ratings report", ("--skip_lines", "delete", "remove"))),
)  # fmt: skip
case("D54", table("reviews/backslash.csv", lambda c: reviews(c / "reviews/backslash.csv", "utf-8", escapechar="\\", doublequote=False)))  # fmt: skip
case("D73", table("reviews/cp1252.csv", lambda c: reviews(c / "reviews/cp1252.csv", "cp1252"), ("utf-8", "--encoding")))  # fmt: skip


def german(cases: Path, name: str, skip: int) -> pd.DataFrame:
    rows = rows_of(lines_of(cases / "decimalcomma" / name)[skip:], ";")
    style = at(3, "%d.%m.%Y %H:%M")
    return truth(rows, 0, 1, lambda row: float(row[2].replace(",", ".")), style)


def reviews(path: Path, encoding: str, **reader) -> pd.DataFrame:
    rows = rows_of(lines_of(path, encoding)[1:], **reader)
    return truth(rows, 0, 1, 2, text=3)


def books(cases: Path) -> tuple[str, str]:
    """D07: no table of interactions comes with the books; three readers who rate each stand for one."""
    path = cases / "bookcrossing/BX-Books.csv"
    rows = rows_of(lines_of(path, "cp1252")[1:], ";", escapechar="\\", doublequote=False)
    with scratch() as top:
        ratings = [f"{user};{row[0]};{place % 10 + 1}" for user in "abc" for place, row in enumerate(rows)]
        (top / "ratings.csv").write_text("\n".join(["User-ID;ISBN;Book-Rating", *ratings]) + "\n")
        with prepared("table", str(top / "ratings.csv"), "--items", str(path)) as out:
            encodings = ("encoding", "cp1252", "windows-1252", "latin-1")
            read = titled({row[0]: row[1] for row in rows})(out) == "" and out.line_holds(encodings)
            return "" if read or out.refused("--encoding") else "titles, or a remark, are missing", out.words


case("D07", books)

# Headers that are none
HEADER = ("--header",)
case("D57", table("headers/headerless_words.csv", cells("headers/headerless_words.csv", style="%Y-%m-%d", skip=0), HEADER, remark=("header",)))  # fmt: skip
case("D59", table("others/lfm1k.tsv", refusal=HEADER, also=lambda _: "read without a header"), table("others/foursquare.tsv", refusal=HEADER, also=lambda _: "read without a header"))  # fmt: skip

# Times
DATES = {"D34": ("us", "%m/%d/%Y"), "D35": ("utcword", "%Y-%m-%d %H:%M:%S UTC"), "D36": ("ampm", "%Y-%m-%d %I:%M:%S %p"), "D37": ("excel", "excel"), "D40": ("dot_time", "%d.%m.%y")}  # fmt: skip
for _name, (_file, _style) in DATES.items():
    case(_name, table(f"dates/{_file}.csv", cells(f"dates/{_file}.csv", style=_style), ("date", "--time")))


def retail(file: str, style: str) -> Callable[[Path], tuple[str, str]]:
    def read(cases: Path) -> pd.DataFrame:
        rows = [row for row in rows_of(lines_of(cases / file)[1:]) if row[6]]
        return truth(rows, 6, 1, time=at(4, style))

    return table(file, read, ratings="any")


case("D17", retail("onlineretail/u_us.csv", "%m/%d/%Y %H:%M"), retail("onlineretail/u_dmy.csv", "%d-%m-%Y %H:%M"), retail("onlineretail/u_dmy2.csv", "%d/%m/%y %H:%M"))  # fmt: skip
case("D13", table("goodreads/interactions.json.gz", lambda c: truth(json_lines(c / "goodreads/interactions.json.gz"), "user_id", "book_id", time=at("date_added", "mail")), ratings="any"))  # fmt: skip
case("D22", table("kuai/log.csv", lambda c: truth(rows_of(lines_of(c / "kuai/log.csv")[1:]), 0, 1, time=at(4, "ms")), ratings="none"))  # fmt: skip

# Ratings
SCALES: dict[str, tuple[str, Callable, str | tuple[str, ...]]] = {
    "D27": ("slash", lambda row: int(row[2].split("/")[0]), "4/5"),
    "D28": ("stars", lambda row: row[2].count("★"), "★"),
    "D29": ("bool", lambda row: row[2] == "True", "true"),
    "D32": ("letters", lambda row: -ord(row[2]), ("letter", "'b'", "“b”", "'a'", "“a”")),
}
for _name, (_file, _rating, _cell) in SCALES.items():
    _read = lambda c, f=_file, r=_rating: truth(rows_of(lines_of(c / f"ratingtexts/{f}.csv")[1:]), 0, 1, r, at(3, "%Y-%m-%d"))  # fmt: skip # noqa: E731
    _words = ("rating", _cell, ("--rating none", "--rating_levels", "map", "--ratings"))  # fmt: skip
    case(_name, table(f"ratingtexts/{_file}.csv", _read, _words, ratings="levels"))
MISSING = ("not rated", "unrated", "missing", "stands apart", "sentinel", "no rating")
case("D20", table("anime/rating.csv", refusal=("-1", MISSING), remark=("-1", MISSING)))

# Formats
case("D08", table("pydict/steam.json", lambda c: truth([python_dict(line) for line in lines_of(c / "pydict/steam.json")], "username", "product_id"), ("python", ("json",), ("convert", "ast.literal_eval", "json.dumps")), ratings="any"))  # fmt: skip
NETFLIX = (("netflix", "1:"), ("user", "--header"), ("not known", "unknown", "expected", "convert", "--"))
case("D15", *(table(f"netflix/{f}", lambda c: netflix_rows(c / "netflix/combined.csv"), NETFLIX, unless=("fields but", "names but")) for f in ("combined_data_1.txt", "combined.csv")))  # fmt: skip
case("D16", table("mind/behaviors.tsv", refusal=(("item",), ("an item a row", "one item a row", "one item per row", "an item per row", "several items", "list of items", "lists of items", "explode")), options=("--header", "impression_id,user_id,time,history,impressions"), also=lambda out: "" if out.interactions["item_id"].str.fullmatch(r"N\d+").all() else "lists as items"))  # fmt: skip
NESTED = ("nested", "flatten", "object", "struct")
case("D45", *(table(f, lambda c, f=f: truth(json_lines(c / "json/deep.jsonl"), lambda r: r["user"]["id"], lambda r: r["item"]["id"], "rating", at("ts", "seconds") if f.endswith("jsonl") else None), ("user", NESTED), unless=("control character",)) for f in ("parquet/struct.parquet", "json/deep.jsonl")))  # fmt: skip
SHAPE = ("json", ("a line", "per line", "orient", "lines=true", "records"))
case("D47", *(table(f"json/{f}.json", lambda c: truth(json_rows(c), "user_id", "item_id", "rating", at("timestamp", "seconds")), SHAPE, unless=("control character",)) for f in ("columns", "split", "wrapped")))  # fmt: skip
RATINGS = cells("archives/ratings.txt")
case("D49", table("archives/ratings.csv.zip", RATINGS, (("unpack", "unzip"),)), table("archives/ratings.txt", RATINGS, (("rename", "export"),)))  # fmt: skip
case("D50", table("archives/really_gz.csv", RATINGS, ("gzip", (".gz", "rename", "gunzip"))), table("archives/not_gz.csv.gz", RATINGS, ("gzip", "not", ("rename", "ending")), unless=("damaged", "copy it again")))  # fmt: skip


# Side tables, ids, texts, leaks, sizes
def joined(
    file: str, items: str, count: int, *words: str | tuple[str, ...]
) -> Callable[[Path], tuple[str, str]]:
    """Right: all titles joined, or the miss is told (with exit code 0 or 2)."""

    def check(cases: Path) -> tuple[str, str]:
        with prepared("table", str(cases / file), "--items", str(cases / items)) as out:
            told = out.line_holds(
                NO_MATCH, (Path(items).name, "--items", "item table"), *words
            ) and out.code in (0, 2)
            fine = told or (out.code == 0 and count and len(titles_of(out)) == count)
            return "" if fine else "nothing joined, nothing told", out.words

    return check


case("D19", joined("hm/transactions.csv", "hm/articles.csv", 15, ("zero", "0108775")))
case(
    "D68", joined("titles/x.csv", "titles/floatids.csv", 15), joined("titles/x.csv", "titles/nomatch.csv", 0)
)
AMAZON_JUNK = ("&amp;", "&#34;", "<br", "<span", "['")


def clean(out: Outcome) -> str:
    text = " ".join(out.interactions.astype(str).to_numpy().ravel().tolist() + out.items.astype(str).to_numpy().ravel().tolist())  # fmt: skip
    found = [junk for junk in AMAZON_JUNK if junk in text]
    if "also_buy" in out.items:
        found.append("also_buy")
    return f"left in texts: {', '.join(found)}" if found else ""


case("D10",
    table("amazon2018/Gifts_5.json.gz", lambda c: truth(json_lines(c / "amazon2018/Gifts_5.json.gz"), "reviewerID", "asin", "overall", at("unixReviewTime", "seconds")), options=("--items", "@/amazon2018/meta_Gifts.json.gz"), also=clean),
    table("amazon2018/Gifts_5.json.gz", source="amazon", options=("--items", "@/amazon2018/meta_Gifts.json.gz"), also=clean),
)  # fmt: skip


def yelp(out: Outcome) -> str:
    left = [name for name in ("stars", "review_count") if name in out.items]
    told = all(
        any(name in line and ("look at" in line or "average" in line) for line in out.lines) for name in left
    )
    return "" if told else "averages over all interactions are attributes without a warning"


case("D12", table("yelp/review.json", lambda c: truth(json_lines(c / "yelp/review.json"), "user_id", "business_id", "stars", at("date", "%Y-%m-%d %H:%M:%S")), options=("--items", "@/yelp/business.json"), also=yelp))  # fmt: skip
case("D62", *(partial(untrainable, f) for f in ("one_each", "all_unique", "one_item", "two_by_two")))


case("D64", table("sizes/emoji_ids.csv", cells("sizes/emoji_ids.csv")))
SPELLINGS = ("1.0", ("spell", "same id", "two ways", "one id"))


def mixed(cases: Path) -> tuple[str, str]:
    with prepared("table", str(cases / "mixids/a.csv")) as out:
        merged = out.code == 0 and out.interactions["user_id"].nunique() == 24
        fine = merged or (out.line_holds(*SPELLINGS) and out.code in (0, 2))
        return "" if fine else "one id in two spellings, without a remark", out.words


case("D65", mixed)


def genres(out: Outcome) -> str:
    text = " ".join(
        [*out.interactions.astype(str).to_numpy().ravel(), *out.items.astype(str).to_numpy().ravel()]
    )
    apart = "Action" in text and "Comedy" in text
    return (
        ""
        if apart and "']" not in text and "['" not in text and "[]" not in text
        else "lists as their Python text"
    )


def untitled(out: Outcome) -> str:
    found = titles_of(out)
    none = [item for item in ("3", "4", "5") if item in found]
    return f"titles that are none: {[found[item] for item in none]}" if none else ""


ITEMS = ("--items", "@/titles/items.csv")
case("D70", table("titles/x.csv", cells("titles/x.csv"), options=ITEMS, also=genres))
case("D71", table("titles/x.csv", cells("titles/x.csv"), options=ITEMS, also=untitled))
case("D76", table("others/goodreads_export.csv", refusal=("user", ("--user", "one person", "one reader", "add a column")), also=lambda out: "authors, or one person, as users"))  # fmt: skip


def run(cases: Path, name: str) -> tuple[bool, str]:
    """Whether a data case is right, and what came instead (of the first that is not)."""
    for number, check in enumerate(CHECKS[name], 1):
        wrong, words = check(cases)
        if wrong:
            which = f"input {number} of {len(CHECKS[name])}: " if len(CHECKS[name]) > 1 else ""
            return False, f"{which}{wrong}\n{shortened(words)}"
    return True, ""

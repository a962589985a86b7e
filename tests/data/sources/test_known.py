"""Public data sets by name: generated files in their shapes are read as what they are."""

from __future__ import annotations

import gzip
import json
import zipfile

import pytest

from p5t5.core.errors import UserError
from p5t5.data.build import SOURCES
from p5t5.data.sources.known import KNOWN, read
from p5t5.data.sources.options import KnownOptions

PAIRS = [(f"u{n % 6}", f"i{n * n % 11}", 1 + n % 5, 1_400_000_000 + 86_400 * n) for n in range(40)]
GENRES = "0|" * 4 + "1|" + "0|" * 13 + "1"  # Children's and Western


def lines(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


def objects(rows) -> str:
    return lines(*(json.dumps(row) for row in rows))


def ratings(glue: str) -> str:
    return lines(*(glue.join(map(str, row)) for row in PAIRS))


SECTIONS = lines(*(f"{item}:\n" + "\n".join(f"{u},{r},2005-01-{n % 28 + 1:02}" for n, (u, i, r, _) in enumerate(PAIRS)
                   if i == item) for item in sorted({i for _, i, _, _ in PAIRS})))  # fmt: skip
FILES = {
    ("movielens", "1M"): {
        "ratings.dat": ratings("::"),
        "movies.dat": lines(*(f'i{n}::"Film" {n}, The (199{n % 9})::Action|Comedy' for n in range(11))),
        "users.dat": lines(*(f"u{n}::F::25::{n}::0999{n}" for n in range(6))),
    },
    ("movielens", "25M"): {
        "ratings.csv": "userId,movieId,rating,timestamp\n" + ratings(","),
        "movies.csv": "movieId,title,genres\n" + lines(*(f'i{n},"Film {n}, The (1990)",Action|Comedy' for n in range(11))),
        "links.csv": "movieId,imdbId\n1,2\n",
        "README.txt": "summary",
    },
    ("movielens", "100K"): {
        "u.data": ratings("\t"),
        "u.item": lines(*(f"i{n}|Film {n} (1990)|01-Jan-1990||http://x|{GENRES}" for n in range(11))),
        "u.user": lines(*(f"u{n}|2{n}|M|writer|1234{n}" for n in range(6))),
    },
    ("recbole", "shop"): {
        "shop.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + ratings("\t"),
        "shop.item": "item_id:token\ttitle:token_seq\n" + lines(*(f'i{n}\t"Film" {n}' for n in range(11))),
    },
    ("yelp", "json"): {
        "yelp_academic_dataset_review.json": objects(
            {"review_id": f"r{n}", "user_id": u, "business_id": i, "stars": float(r), "text": "fine", "date": f"2016-03-{n % 28 + 1:02} 00:53:48"}
            for n, (u, i, r, _) in enumerate(PAIRS)
        ),
        "yelp_academic_dataset_business.json": objects(
            {"business_id": f"i{n}", "name": f"Film {n}", "city": "Here", "stars": 3.5, "categories": "Food, Bars"} for n in range(11)
        ),
    },
    ("steam", "python"): {
        "steam_new.json": lines(*(repr({"username": u, "product_id": i, "hours": 1.5 * r, "date": f"2017-07-{n % 28 + 1:02}", "text": "it's ok"})
                                for n, (u, i, r, _) in enumerate(PAIRS))),
        "steam_games.json": lines(*(repr({"id": f"i{n}", "title": f"Film {n}", "genres": ["Action", "Indie"]}) for n in range(11))),
    },
    ("goodreads", "json"): {
        "goodreads_reviews_poetry.json": objects(
            {"user_id": u, "book_id": i, "rating": r, "review_text": "good", "date_added": f"Sat Jul {n % 28 + 1:02} 12:{n:02}:18 -0700 2017"}
            for n, (u, i, r, _) in enumerate(PAIRS)
        ),
        "goodreads_books_poetry.json": objects({"book_id": f"i{n}", "title": f"Film {n}", "similar_books": ["i1"]} for n in range(11)),
    },
    ("lastfm", "360K"): {
        "usersha1-artmbid-artname-plays.tsv": lines(*(f'{u}\t{"" if r < 3 else i}\tFilm {i[1:]}\t{r * 100}' for u, i, r, _ in PAIRS)),
    },
    ("lastfm", "1K"): {
        "userid-timestamp-artid-artname-traid-traname.tsv": lines(*(
            f'{u}\t2009-05-{n % 28 + 1:02}T23:08:57Z\t\tFilm {i[1:]}\t\tSong "x"' for n, (u, i, _, _) in enumerate(PAIRS))),
    },
    ("book-crossing", "csv"): {
        "BX-Book-Ratings.csv": lines('"User-ID";"ISBN";"Book-Rating"', *(f'"{u}";"{i}";"{r}"' for u, i, r, _ in PAIRS)),
        "BX-Books.csv": lines('"ISBN";"Book-Title";"Book-Author"', *(f'"i{n}";"Film {n} \\"é\\"";"Ann"' for n in range(11))),
    },
    ("netflix", "kaggle"): {
        "combined_data_1.txt": SECTIONS,
        "movie_titles.csv": lines(*(f"i{n},200{n % 9},Film {n}, the é" for n in range(11))),
    },
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("key", FILES, ids="-".join)
def test_generated_files_are_read(tmp_path, key, packed):
    name = key[0]
    encoding = "cp1252" if name in ("book-crossing", "netflix", "movielens") else "utf-8"
    if packed:
        raw = tmp_path / "data.zip"
        with zipfile.ZipFile(raw, "w") as archive:
            for file, text in FILES[key].items():
                archive.writestr(f"folder/{file}", text.encode(encoding))
    else:
        raw = tmp_path / "data"
        raw.mkdir()
        for file, text in FILES[key].items():
            content = text.encode(encoding)
            inner = name in ("goodreads", "steam")
            (raw / f"{file}{'.gz' * inner}").write_bytes(gzip.compress(content) if inner else content)
    records = read(KNOWN[name], KnownOptions(out="", raw=[str(raw)]))
    table = records.interactions
    items = {f"Film {item[1:]}" if name == "lastfm" else item for _, item, _, _ in PAIRS}
    assert set(table["user_id"]) == {user for user, _, _, _ in PAIRS}
    assert set(table["item_id"]) == items and len(table) == len(PAIRS), records.info
    assert ("rating" in table) == (name not in ("steam", "lastfm"))
    if "rating" in table:
        assert table["rating"].value_counts().to_dict() == {1 + n: 8 for n in range(5)}
    titles = records.items["title"].tolist()
    assert len(set(titles)) == 11 or len(set(titles)) == len(items)
    assert all("Film" in title for title in titles), titles
    assert "similar_books" not in records.items


def test_a_file_alone_takes_what_lies_beside_it(tmp_path):
    for file, text in FILES["movielens", "25M"].items():
        (tmp_path / file).write_text(text)
    records = read(KNOWN["movielens"], KnownOptions(out="", raw=[str(tmp_path / "ratings.csv")]))
    assert records.items["title"][0].startswith("Film")


def test_missing_files_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"no file of MovieLens .* in it are notes\.txt"):
        read(KNOWN["movielens"], KnownOptions(out="", raw=[str(tmp_path)]))
    with pytest.raises(UserError, match="there is no file or folder"):
        read(KNOWN["movielens"], KnownOptions(out="", raw=[str(tmp_path / "gone")]))
    assert set(KNOWN) < set(SOURCES)

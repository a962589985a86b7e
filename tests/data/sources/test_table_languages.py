"""Tables as shops elsewhere write them: their words for columns, decimal commas, 31.12.2020, names by value."""

from __future__ import annotations

import pyarrow as pa
import pytest

from p5t5.data.sources import cells, rating_scales, table
from p5t5.data.sources.column_inference import guess_columns

COLUMNS = ["user_id", "item_id", "rating", "timestamp", "review", "summary"]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (
            {"Kunde": "K1", "Artikelnr": "007", "Menge": "2", "Preis": "9,50", "Bewertung": "4", "Bestelldatum": "31.12.2020",
             "Kommentar": "gut", "Überschrift": "Ja"},
            "Kunde Artikelnr Bewertung Bestelldatum Kommentar Überschrift",
        ),
        ({"id_client": "1", "produit": "2", "étoiles": "5", "date_commande": "2020-01-02"}, "id_client produit étoiles date_commande - -"),
        ({"usuario": "a", "película": "b", "puntuación": "3", "fecha": "2020-01-02"}, "usuario película puntuación fecha - -"),
        ({"CustomerID": "1", "StockCode": "85A", "Quantity": "6", "InvoiceDate": "2010-12-01 08:26"}, "CustomerID StockCode - InvoiceDate - -"),
        ({"listener": "a", "track uri": "00 003", "ts_ms": 1_700_000_000_000}, "listener track uri - ts_ms - -"),
        ({"user": "a", "item": "b", "review": "4.5"}, "user item - - - -"),  # numbers are no review
    ],
)  # fmt: skip
def test_columns_in_other_words(sample, expected):
    guesses, _ = guess_columns({name: [cell] * 4 for name, cell in sample.items()}, {}, "t.csv")
    assert " ".join(guesses[name].theirs if name in guesses else "-" for name in COLUMNS) == expected


@pytest.mark.parametrize("name", ["order_quantity", "isGift", "store id", "Anzahl_Artikel", "category"])
def test_counts_and_marks_are_no_ratings(name):
    sample = {"user": ["a", "b"] * 20, "item": ["x", "y"] * 20, name: ["1", "2", "3", "4"] * 10}
    assert "rating" not in guess_columns(sample, {}, "t.csv")[0]


def test_flags_are_no_ratings_by_their_values():
    sample = {"user": ["a", "b"] * 20, "item": ["x", "y"] * 20, "done": [True, False] * 20}
    assert "rating" not in guess_columns(sample, {}, "t.csv")[0]
    assert "rating" not in guess_columns(sample | {"done": ["1", "0"] * 20}, {}, "t.csv")[0]
    named = guess_columns(sample | {"done": ["1", "0"] * 20}, {"rating": "done"}, "t.csv")[0]
    assert named["rating"].theirs == "done"


def test_decimal_commas():
    assert cells.has_decimal_commas(["4,5", "3"] * 10) and not cells.has_decimal_commas(["4,5"] * 2)
    assert cells.has_decimal_commas(["4,5"] * 3) and not cells.has_decimal_commas(["4,5", "3", "3", "3", "x"])
    assert not cells.has_decimal_commas(["4,5"] * 20 + ["3.5"])  # who writes both means something else
    assert not cells.has_decimal_commas(["4,5"] * 10 + ["good, but dear"] * 10)
    column = pa.array(["4,5", "-1,25", "3", "1,000,000", "x", None])
    numbers, bad = cells.ratings(column, rating_scales.COMMAS.value)
    assert numbers.tolist()[:3] == [4.5, -1.25, 3.0] and bad.tolist() == [0, 0, 0, 1, 1, 0]
    assert cells.ratings(column, rating_scales.plain)[1].tolist() == [1, 1, 0, 1, 1, 0]


def test_a_german_shop(tmp_path):
    path = tmp_path / "bestellungen.csv"
    rows = [
        f"K{n % 5};{n % 7:03};Käse {n % 7};{n % 3};{n % 5},5;{n % 28 + 1:02}.03.2021;gut" for n in range(40)
    ]
    path.write_text("Kunde;Artikelnr;Bezeichnung;Menge;Bewertung;Datum;Kommentar\n" + "\n".join(rows) + "\n")
    records = table.read(path)
    assert not records.info["dropped"] and sorted(records.interactions["rating"].unique()) == [
        0.5, 1.5, 2.5, 3.5, 4.5,
    ]  # fmt: skip
    assert records.interactions["timestamp"].min() == 1_614_556_800  # 1 March 2021
    assert f"Bezeichnung: of the items (title, attributes)? add --items {path}" in records.info["notes"]
    titled = table.read(path, path)
    assert titled.items["title"].tolist()[:2] == ["Käse 0", "Käse 1"]
    assert not any("add --items" in note for note in titled.info["notes"])


def test_the_only_column_of_names_is_the_title(tmp_path):
    (tmp_path / "r.csv").write_text("user,rid\nu,1\nu,2\n")
    rows = [f"{n},Dish {chr(97 + n)}bc,{'vegan' if n % 2 else 'sweet'},https://x.y/{n}" for n in range(1, 25)]
    (tmp_path / "i.csv").write_text("rid,label,style,link\n" + "\n".join(rows))
    assert table.read(tmp_path / "r.csv", tmp_path / "i.csv").items["title"].tolist() == [
        "Dish bbc",
        "Dish cbc",
    ]
    rows = [row + f",Cook {n} xyz" for n, row in enumerate(rows)]
    (tmp_path / "i.csv").write_text("rid,label,style,link,cook\n" + "\n".join(rows))
    assert "title" not in table.read(tmp_path / "r.csv", tmp_path / "i.csv").items  # two: it cannot be told

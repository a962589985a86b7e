"""Which column of somebody's table is which: by its name, else by what its first cells hold."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p5t5.core.errors import UserError
from p5t5.data.sources.cells import MISSING, _number, has_decimal_commas, is_time, with_point

OPTIONS = {
    "user_id": "--user",
    "item_id": "--item",
    "rating": "--rating",
    "timestamp": "--time",
    "review": "--review",
    "summary": "--summary",
    "feature": "--feature",
    "explanation": "--explanation",
}
MADE = ("feature", "explanation")  # columns that few have, and that `prepare` can make from others
NONE = "none"  # `--rating none`: leave the column out
# Names as people write them (plain_name), the likeliest first; behind the English ones those of other languages.
NAMES = {
    "user_id": (
        "userid user uid useruuid username reviewerid reviewer customerid customer customerno customernumber custid "
        "memberid member accountid account visitorid visitor buyerid buyer clientid client shopperid shopper "
        "profileid profile authorid author readerid reader viewerid viewer playerid player listenerid listener "
        "personid person subscriberid guestid kundenid kundennummer kundennr kunde kundin benutzerid benutzer "
        "nutzerid nutzer mitglied kaufer kaeufer idclient numclient acheteur utilisateur idusuario usuario "
        "idcliente cliente comprador idutente utente klantid klantnummer klant gebruiker sessionid session"
    ),
    "item_id": (
        "itemid item iid productid product parentasin asin movieid movie filmid film bookid book isbn articleid "
        "article songid song trackid trackuri track artistid artist albumid album gameid game appid app videoid video "
        "showid show animeid anime businessid business restaurantid restaurant venueid venue placeid poiid "
        "recipeid recipe courseid course newsid news listingid listing contentid episodeid episode podcastid podcast "
        "sku stockcode productcode itemcode articlenumber gtin ean upc goodsid artikelid artikelnummer artikelnr "
        "artikel produktid produktnummer produktnr produkt buchid buch idproduit produitid produit idarticle "
        "idproducto producto idarticulo articulo libro pelicula idprodotto prodotto articolo idproduto produto "
        "productname movietitle itemname trackname songname artikelname produktname artikelbezeichnung"
    ),
    "rating": (
        "rating ratings ratingvalue stars star starrating overall score reviewrating reviewscore grade userrating "
        "vote preference liked thumbs thumbsup bewertung bewertungen sterne punktzahl etoiles puntuacion "
        "calificacion valoracion estrellas valutazione punteggio voto avaliacao beoordeling nota"
    ),
    "timestamp": (
        "timestamp time ts unixreviewtime unixtime datetime date reviewtime reviewdate createdat created eventtime "
        "eventtimestamp ratedat orderdate purchasedate purchasetime orderedat purchasedat invoicedate visitedat "
        "watchedat readat dateread listenedat playedat tsms timestampms endtime updatedat lastupdated dateupdated "
        "dateadded when day zeitstempel zeitpunkt bestelldatum kaufdatum bewertungsdatum datum erstelltam erstellt "
        "horodatage datecommande dateachat fechapedido fechacompra fecha dataordine dataacquisto datacompra "
        "besteldatum tijdstip zeit data"
    ),
    "review": (
        "reviewtext review text reviewbody comment comments content body feedback opinion rezension "
        "rezensionstext bewertungstext kundenmeinung meinung kommentar commentaire avis texte resena opiniones "
        "comentario recensione commento texto"
    ),
    "summary": (
        "summary headline reviewtitle reviewsummary reviewheadline subject uberschrift ueberschrift schlagzeile "
        "rezensionstitel bewertungstitel betreff"
    ),
    "feature": "feature featureword aspect",
    "explanation": "explanation explanations justification",
    "title": (
        "title name itemtitle itemname productname producttitle movietitle filmtitle booktitle songname songtitle "
        "trackname tracktitle articlename recipename gamename titel bezeichnung artikelbezeichnung artikelname "
        "produktbezeichnung produktname buchtitel filmtitel titre nomproduit libelle designation nom titulo nombre "
        "nombreproducto titolo nome naam"
    ),
    "head": "head subject item itemid",
    "relation": "relation predicate property",
    "tail": "tail object entity value",
}
# Words in the names of columns whose few different numbers are no ratings.
_NO_RATINGS = (
    "id nr no code uri quantity qty count num number price cost amount discount age year month hour "
    "weekday helpful votes length size index row rank position page gender zip sex level step version "
    "group cluster category status type flag is has was skipped clicked returned clicks views plays "
    "visits duration menge anzahl stueck stuck preis einzelpreis betrag rabatt alter jahr monat quantite "
    "prix cantidad precio quantita prezzo quantidade preco aantal prijs"
)


@dataclass(frozen=True)
class Guess:
    """A column of theirs, and why it was taken: "named", "by its name", "by its values", "the one that is left"."""

    theirs: str
    why: str


def by_name(ours: str, names: Sequence[str]) -> str | None:
    """The likeliest of ``names`` for our column, None where none is known."""
    plain = {plain_name(name): name for name in reversed(names)}
    return next((plain[name] for name in NAMES[ours].split() if name in plain), None)


def plain_name(name: str) -> str:
    """ "User ID" and "user_id:token" (RecBole's files) → "userid", "Étoiles" → "etoiles"."""
    return re.sub(r"[\W_]", "", _without_accents(name.split(":")[0]))


def _without_accents(name: str) -> str:
    parts = unicodedata.normalize("NFKD", name.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))


def guess_columns(
    sample: Mapping[str, Sequence[Any]], named: Mapping[str, str], where: str
) -> tuple[dict[str, Guess], list[str]]:
    """Our column → theirs, of an interactions file, and notes on columns that were not taken.

    ``sample``: the first cells of each column. ``named``: what the user said, ``none`` for "leave it out".
    Raises UserError where a named column is not there, or users and items cannot be told.
    """
    names = list(sample)
    sample = {
        name: [with_point(cell) for cell in cells] if has_decimal_commas(cells) else cells
        for name, cells in sample.items()
    }
    found: dict[str, Guess] = {}
    notes: list[str] = []
    left_out = {ours for ours, theirs in named.items() if theirs == NONE and theirs not in names}
    for ours, theirs in named.items():
        if ours not in left_out:
            found[ours] = Guess(
                existing(theirs, names, where, OPTIONS.get(ours, f"--columns {ours}=")), "named"
            )

    def free() -> list[str]:
        return [name for name in names if name not in {guess.theirs for guess in found.values()}]

    for ours in OPTIONS:
        if ours in found or ours in left_out:
            continue
        likely_name = by_name(ours, free())
        fits = {"rating": _is_rating, "timestamp": _is_ordered, "review": _is_text, "summary": _is_text}.get(
            ours
        )
        if likely_name is not None and (fits is None or fits(sample[likely_name])):
            found[ours] = Guess(likely_name, "by its name")
        elif likely_name is not None:
            what = {"rating": "numbers", "timestamp": "times"}.get(ours, "texts")
            notes.append(
                f"column {likely_name} is not our {ours}: few of its cells are {what}; if it is, {OPTIONS[ours]} "
                f"{likely_name}"
            )
    if "review" in found and "summary" not in {*found, *left_out} and "title" in free():
        found["summary"] = Guess("title", "by its name, beside a review")
    if "feature" not in named and "explanation" not in found:
        found.pop("feature", None)  # a feature of the item, say: ours is what an explanation is about
    missing = [ours for ours in ("user_id", "item_id") if ours not in found]
    for ours, fits in (("timestamp", _is_time), ("rating", _is_scale)):
        fitting = [
            name for name in free() if fits(sample[name]) and not (fits is _is_scale and _no_rating(name))
        ]
        others = [name for name in free() if _is_id(sample[name]) and name not in fitting]
        # Small numbers may be ids as well: enough columns must be left for those.
        if ours not in {*found, *left_out} and len(fitting) == 1 and len(others) >= len(missing):
            found[ours] = Guess(fitting[0], "by its values")
    likely = [name for name in free() if _is_id(sample[name])]
    if missing and len(likely) == len(missing):
        why = "the one that is left" if len(missing) == 1 else "by its place: users before items"
        found |= {ours: Guess(name, why) for ours, name in zip(missing, likely, strict=True)}
        missing = []
    if missing:
        if all(_number(name) is not None for name in names):
            raise UserError(
                f"{where}: its first line names no columns ({', '.join(names)}); "
                "name them in order with --header user,item,rating,time."
            )
        held = {"user_id": "users", "item_id": "items"}[missing[0]]
        raise UserError(
            f"{where}: which column holds the {held}? There are {', '.join(names)}. "
            f"Say it with {' and '.join(f'{OPTIONS[ours]} NAME' for ours in missing)}."
        )
    taken = [guess.theirs for guess in found.values()]
    for name in taken:
        if taken.count(name) > 1:
            raise UserError(f"{where}: column {name} was named twice; a column can be one thing only.")
    return {ours: found[ours] for ours in OPTIONS if ours in found}, notes


def existing(theirs: str, names: Sequence[str], where: str, option: str) -> str:
    """``theirs`` if it is one of the names. Raises UserError with the nearest name."""
    if theirs in names:
        return theirs
    near = difflib.get_close_matches(theirs, names, 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise UserError(f"{where}: no column {theirs} ({option}); there are {', '.join(names)}.{meant}")


def _known(values: Sequence[Any]) -> list[Any]:
    return [v for v in values if v is not None and str(v).strip().lower() not in MISSING]


def _is_rating(values: Sequence[Any]) -> bool:
    """Most cells that are filled are numbers; where most are not, the column is something else."""
    known = _known(values)
    return sum(_number(value) is not None for value in known) >= 0.5 * len(known)


def _is_text(values: Sequence[Any]) -> bool:
    """Most cells that are filled are no numbers, or none is filled."""
    known = _known(values)
    return not known or sum(_number(value) is None for value in known) >= 0.5 * len(known)


def _is_scale(values: Sequence[Any]) -> bool:
    """Numbers with few different values, none far from the others: stars, points, thumbs (no true and false)."""
    known = _known(values)
    if not known or any(
        isinstance(value, bool) or str(value).lower() in ("true", "false") for value in known
    ):
        return False
    if any(_number(value) is None for value in known):
        return False
    scale = {_number(value) for value in known}
    return 2 <= len(scale) <= min(21, max(2, len(known) // 2)) and min(scale) >= -10 and max(scale) <= 100  # type: ignore[type-var, operator]


def _is_time(values: Sequence[Any], share: float = 0.9) -> bool:
    known = _known(values)[:100]
    return bool(known) and sum(map(is_time, known)) >= share * len(known)


def _is_ordered(values: Sequence[Any]) -> bool:
    """What a column called "time" may hold: times, or numbers that count something (1, 2, 3, …)."""
    return _is_rating(values) or _is_time(values, 0.5)


def _no_rating(name: str) -> bool:
    """Whether a word of the name ("order_quantity", "isGift") says that its numbers count or mark something."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.split(":")[0])
    return not set(_NO_RATINGS.split()).isdisjoint(re.split(r"[\W_]+", _without_accents(apart)))


def _is_id(values: Sequence[Any]) -> bool:
    """Whole numbers or short texts, most of them there, and no times."""
    known = _known(values)
    if not known or len(known) < len(values) / 2:
        return False
    short = sum(
        not isinstance(v, (float, list, dict)) and len(str(v)) <= 64 and "\n" not in str(v) for v in known
    )
    whole = all((number := _number(v)) is None or float(number).is_integer() for v in known)
    return (
        whole
        and short == len(known)
        and not (_is_time(values) and not all(isinstance(v, int) for v in known))
    )

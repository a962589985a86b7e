"""What columns are called: names for each of our columns as people write them, and words that rule one out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Names as people write them (plain_name), the likeliest first; behind the English ones those of other languages.
NAMES = {
    "user_id": (
        "userid user uid useruuid username reviewerid reviewer customerid customer customerno customernumber custid "
        "memberid member accountid account visitorid visitor buyerid buyer clientid client shopperid shopper "
        "profileid profile readerid reader viewerid viewer playerid player listenerid listener "
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
        "rating ratings ratingvalue myrating yourrating userrating stars star starrating overall score reviewrating "
        "reviewscore reviewstars reviewoverall bookrating movierating filmrating itemrating productrating ratingscore "
        "grade customerrating "
        "vote preference liked thumbs thumbsup bewertung bewertungen sterne punktzahl etoiles puntuacion "
        "calificacion valoracion estrellas valutazione punteggio voto avaliacao beoordeling nota"
    ),
    "timestamp": (
        "timestamp time ts timems unixreviewtime unixtime datetime date reviewtime reviewdate createdat created eventtime "
        "eventtimestamp ratedat orderdate purchasedate purchasetime orderedat purchasedat invoicedate visitedat "
        "transactiondate transactiontime transdate transtime tdat eventdate eventtimems logtime accesstime "
        "reviewedat ratingdate ratingtime ratingtimestamp ratedon watcheddate lastplayed "
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
    "tab channel hourmin minute second duration ms timezone stock store branch cart bought purchased "
    "watched shared follow following comment comments forward hate error retry percent pct ratio "
    "prix cantidad precio quantita prezzo quantidade preco aantal prijs"
)


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


def counts_or_marks(name: str) -> bool:
    """Whether a word of the name ("order_quantity", "isGift") says that its numbers count or mark something."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.split(":")[0])
    return not set(_NO_RATINGS.split()).isdisjoint(re.split(r"[\W_]+", _without_accents(apart)))

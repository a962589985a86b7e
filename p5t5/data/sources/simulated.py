"""A simulated shop whose best possible scores are known, for tests of all five families.

The generating process
- Items: ``items`` of them, evenly over 8 genres; each has one of 6 makers (quality from −1 to 1), a
  main feature (one of its genre's 3) and a weight within its genre, 0.75 to the power of its rank.
- Users: each has a favourite genre and is generous (+0.6) or harsh (−0.6).
- Next item: with probability 0.85 its genre is the successor of the last item's genre (a fixed cycle
  through all genres), else the favourite genre with probability 0.5, else any genre. Within the genre
  it is drawn by weight among the items that the user has not had: no item comes twice.
- Rating: clip(round(3.2 + generosity + maker's quality + 0.5 if the genre is the favourite + noise), 1, 5),
  noise N(0, 0.35).
- Feature: the item's main feature with probability 0.8, else one of its genre's two others.
- Explanation: the genre's sentence about the feature with the rating's opinion word.
- Review: an opening, the feature and another feature of the genre with an opinion word each, and a third
  opinion overall; each opinion word is the rating's with probability 0.8, else a neighbouring rating's.
- Summary: the rating's headline about the feature.

So the last genre, the maker in the title, the user's earlier ratings and the words of a review say
nearly all there is to know. The oracle knows the hidden causes exactly: no model can do better on
average, and one that learns the process comes close.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged, positions
from p5t5.core.randomness import generator
from p5t5.data.records.building import make_records
from p5t5.data.records.tables import IndexedRecords, Records, item_order
from p5t5.data.sources.options import SimulatedOptions
from p5t5.data.sources.oracle_scores import best_constant_text, candidate_scores, item_scores, overlap, rmse
from p5t5.data.splits import Split, leave_one_out

# genre → (its three features, its sentence): no word is shared between the sentences.
GENRES = {
    "coffee": (("aroma", "crema", "grinder"), "each morning the {feature} tastes {opinion}"),
    "camping": (("zipper", "canvas", "poles"), "under rain its {feature} felt {opinion}"),
    "guitar": (("tone", "strings", "fretboard"), "on stage this {feature} sounds {opinion}"),
    "garden": (("blades", "handle", "hose"), "all summer long {feature} worked {opinion}"),
    "kitchen": (("lid", "coating", "timer"), "while cooking my {feature} proved {opinion}"),
    "cycling": (("brakes", "saddle", "gears"), "up hills these {feature} were {opinion}"),
    "camera": (("lens", "shutter", "focus"), "at dusk their {feature} looks {opinion}"),
    "running": (("sole", "cushion", "laces"), "after miles our {feature} stays {opinion}"),
}
MAKERS = {"Arden": 1.0, "Borel": 0.6, "Cavan": 0.2, "Dorin": -0.2, "Elmet": -0.6, "Farro": -1.0}
OPINIONS = ("awful", "weak", "decent", "good", "superb")  # of the ratings 1 to 5
HEADLINES = (
    "avoid such {feature}",
    "rather poor {feature}",
    "average {feature} nothing more",
    "quite nice {feature}",
    "simply love this {feature}",
)
OPENINGS = ("Bought in spring.", "A present from a friend.", "My second one.", "Came after two days.")

FOLLOWS, FAVOURITE = 0.85, 0.5  # the chance of the successor genre; of the favourite among the rest
WEIGHT_STEP = 0.75
BASE, GENEROSITY, LIKING, NOISE = 3.2, 0.6, 0.5, 0.35
MAIN_FEATURE, RIGHT_OPINION = 0.8, 0.8
RATINGS = np.arange(1, 6)


@dataclass(frozen=True)
class Causes:
    """What the process knows and the tables do not say. Numbers are those of IndexedRecords.

    - a value an item: ``genre``, ``maker``, ``main_feature`` (0 to 2), ``weight`` (sums to 1 in a genre);
    - a value a user: ``favourite`` (genre), ``generosity``;
    - a value a genre: ``successor``;
    - a value an interaction: ``feature`` (0 to 2), ``other`` (0 to 2), ``opinions`` [n, 3] (0 to 4).
    """

    genre: np.ndarray
    maker: np.ndarray
    main_feature: np.ndarray
    weight: np.ndarray
    favourite: np.ndarray
    generosity: np.ndarray
    successor: np.ndarray
    feature: np.ndarray
    other: np.ndarray
    opinions: np.ndarray


@dataclass(frozen=True)
class Simulated:
    """The records, and the process behind them as exact probabilities."""

    records: Records
    causes: Causes

    @cached_property
    def data(self) -> IndexedRecords:
        return self.records.index()

    def next_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """float64 [n, items]: how likely each item was to be the interaction at each row, given all before."""
        data, rows = self.data, np.asarray(rows)
        before = rows - data.user_start[data.user[rows]]
        seen = np.zeros((len(rows), data.number_of_items), bool)
        earlier = positions(rows - before, before)
        seen[np.repeat(np.arange(len(rows)), before), data.item[earlier]] = True
        last = np.where(before > 0, self.causes.genre[data.item[np.maximum(rows - 1, 0)]], -1)
        return _next_probabilities(self.causes, data.user[rows], last, seen)

    def rating_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """float64 [n, 5]: the ratings 1 to 5 of the user and item of each row."""
        return _rating_probabilities(self.causes, self.data.user[rows], self.data.item[rows])

    def feature_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """float64 [n, 3]: which of its genre's features the row's review is about."""
        return _feature_probabilities(self.causes.main_feature[self.data.item[rows]])

    def reviewed_rating_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """float64 [n, 5]: the rating given user, item and the review's three opinion words (Bayes)."""
        likelihood = _opinion_probabilities()[:, self.causes.opinions[rows]].prod(axis=2).T
        joint = self.rating_probabilities(rows) * likelihood
        return joint / joint.sum(axis=1, keepdims=True)

    def best(self, rows: np.ndarray | None = None, candidates: Ragged | None = None) -> dict[str, float]:
        """ "task metric" → the score of the best possible answers on ``rows`` (default: leave-one-out test).

        ``candidates``: item numbers a row, for sequential/choose and direct/choose, the truth among them.
        Text scores are unigram F1 from 0 to 1, of the answer with the highest expected F1.
        """
        rows = leave_one_out(self.data).rows("test") if rows is None else np.asarray(rows)
        chances, item = self.next_probabilities(rows), self.data.item[rows]
        scores = item_scores(chances, item)
        scores |= {"rating/score rmse": rmse(self.rating_probabilities(rows) @ RATINGS, self._rating(rows))}
        scores |= {
            "review/score rmse": rmse(self.reviewed_rating_probabilities(rows) @ RATINGS, self._rating(rows))
        }
        scores |= self._best_texts(rows)
        return scores | candidate_scores(chances, item, candidates)

    def best_constant(
        self, split: Split, rows: np.ndarray | None = None, candidates: Ragged | None = None
    ) -> dict[str, float]:
        """The same scores of the best answer that ignores the question: fitted on the training rows.

        Items by popularity (the user's earlier items removed), the mean rating, the sentence and the
        headline with the highest mean F1.
        """
        data, train = self.data, split.rows("train")
        rows = split.rows("test") if rows is None else np.asarray(rows)
        popularity = np.bincount(data.item[train], minlength=data.number_of_items).astype(np.float64)
        chances = np.where(self.next_probabilities(rows) > 0, popularity + 1e-9, 0.0)
        scores = item_scores(chances, data.item[rows])
        error = rmse(np.full(len(rows), self._rating(train).mean()), self._rating(rows))
        scores |= {"rating/score rmse": error, "review/score rmse": error}
        for column, task in (("explanation", "explanation/explain"), ("summary", "review/headline")):
            scores[f"{task} rouge1"] = best_constant_text(data.texts[column], train, rows)
        scores["explanation/explain_feature rouge1"] = scores["explanation/explain rouge1"]
        feature = Counter(data.texts["feature"][row] for row in train).most_common(1)[0][0]
        scores["explanation/explain feature_match"] = float(
            np.mean([data.texts["feature"][row] == feature for row in rows])
        )
        return scores | candidate_scores(chances, data.item[rows], candidates)

    def _rating(self, rows: np.ndarray) -> np.ndarray:
        assert self.data.rating is not None
        return self.data.rating[rows].astype(np.float64)

    def _best_texts(self, rows: np.ndarray) -> dict[str, float]:
        """Explanations and headlines: the candidate with the highest expected unigram F1 a row."""
        genre = self.causes.genre[self.data.item[rows]]
        features, ratings = self.feature_probabilities(rows), self.rating_probabilities(rows)
        reviewed = self.reviewed_rating_probabilities(rows)
        sentences, headlines = overlap(_sentence_table()), overlap(_headline_table())
        explain, matched, hinted, headline = [], [], [], []
        for place, row in enumerate(rows):
            truth, rating = self.causes.feature[row], int(self._rating(row)) - 1
            f1 = sentences[
                genre[place]
            ]  # [3, 5, 3, 5]: answer's feature and rating, truth's feature and rating
            expected = np.einsum("abcd,c,d->ab", f1, features[place], ratings[place])
            feature, opinion = np.unravel_index(expected.argmax(), expected.shape)
            explain.append(f1[feature, opinion, truth, rating])
            matched.append(feature == truth)
            opinion = (f1[truth, :, truth, :] @ ratings[place]).argmax()
            hinted.append(f1[truth, opinion, truth, rating])
            f1 = headlines[genre[place]]
            opinion = (f1[truth, :, truth, :] @ reviewed[place]).argmax()
            headline.append(f1[truth, opinion, truth, rating])
        return {
            "explanation/explain rouge1": float(np.mean(explain)),
            "explanation/explain feature_match": float(np.mean(matched)),
            "explanation/explain_feature rouge1": float(np.mean(hinted)),
            "review/headline rouge1": float(np.mean(headline)),
        }


def simulate(
    users: int = 300,
    items: int = 160,
    seed: int = 0,
    shortest: int = 12,
    longest: int = 20,
    name: str = "simulated",
) -> Simulated:
    """Draws a shop. ``items`` should be at least 8 × (longest − 4) or so, else genres run out of unseen items."""
    rng = generator(seed, 17)
    genre = rng.permutation(np.arange(items) % len(GENRES))
    cycle = rng.permutation(len(GENRES))
    successor = np.empty(len(GENRES), np.int64)
    successor[cycle] = np.roll(cycle, -1)
    weight = np.zeros(items)
    for g in range(len(GENRES)):
        members = np.flatnonzero(genre == g)
        weight[members] = WEIGHT_STEP ** rng.permutation(len(members))
        weight[members] /= weight[members].sum()
    lengths = rng.integers(shortest, longest + 1, users)
    total = int(lengths.sum())
    causes = Causes(
        genre=genre,
        maker=rng.integers(0, len(MAKERS), items),
        main_feature=rng.integers(0, 3, items),
        weight=weight,
        favourite=rng.integers(0, len(GENRES), users),
        generosity=rng.choice([-GENEROSITY, GENEROSITY], users),
        successor=successor,
        feature=np.zeros(total, np.int64),
        other=np.zeros(total, np.int64),
        opinions=np.zeros((total, 3), np.int64),
    )
    user = np.repeat(np.arange(users), lengths)
    item = _draw_sequences(causes, lengths, longest, rng)
    rating = 1 + _draw(_rating_probabilities(causes, user, item), rng)
    causes.feature[:] = _draw(_feature_probabilities(causes.main_feature[item]), rng)
    causes.other[:] = (causes.feature + rng.integers(1, 3, total)) % 3
    chances = _opinion_probabilities()[rating - 1]
    for place in range(3):
        causes.opinions[:, place] = _draw(chances, rng)
    day = np.concatenate([np.cumsum(rng.integers(1, 30, n)) for n in lengths])
    interactions = pd.DataFrame(
        {
            "user_id": [f"U{u:05d}" for u in user],
            "item_id": _item_ids(items)[item],
            "rating": rating,
            "timestamp": 1_300_000_000 + 86_400 * day,
            **_texts(causes, item, rating, rng),
        }
    )
    records = make_records(
        name,
        interactions,
        _item_table(causes),
        triples=_triples(causes),
        info={
            "source": f"simulated: {users} users, {items} items, seed {seed} (p5t5/data/sources/simulated.py)"
        },
        all_items=True,
    )
    return Simulated(records, causes)


def _next_probabilities(
    causes: Causes, user: np.ndarray, last_genre: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """[n, items] from user numbers, the last item's genre (−1: none) and bool [n, items] what was had."""
    n, number = len(user), len(GENRES)
    taste = np.full((n, number), (1 - FAVOURITE) / number)
    taste[np.arange(n), causes.favourite[user]] += FAVOURITE
    chances = np.where(last_genre[:, None] < 0, 1.0, 1 - FOLLOWS) * taste
    follows = np.flatnonzero(last_genre >= 0)
    chances[follows, causes.successor[last_genre[follows]]] += FOLLOWS
    weight = np.where(seen, 0.0, causes.weight)
    membership = np.eye(number)[causes.genre]
    left = weight @ membership
    chances = np.where(left > 0, chances, 0.0)  # a genre without unseen items cannot come
    chances /= chances.sum(axis=1, keepdims=True)
    return weight * (chances / np.where(left > 0, left, 1.0))[:, causes.genre]


def _rating_probabilities(causes: Causes, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    quality = np.array(list(MAKERS.values()))[causes.maker[item]]
    mean = BASE + causes.generosity[user] + quality + LIKING * (causes.genre[item] == causes.favourite[user])
    edges = ndtr((np.arange(1.5, 5) - mean[:, None]) / NOISE)
    edges = np.concatenate([np.zeros((len(mean), 1)), edges, np.ones((len(mean), 1))], axis=1)
    return np.diff(edges, axis=1)


def _feature_probabilities(main: np.ndarray) -> np.ndarray:
    return np.where(np.arange(3) == main[:, None], MAIN_FEATURE, (1 - MAIN_FEATURE) / 2)


def _opinion_probabilities() -> np.ndarray:
    """[5, 5]: the chance of each opinion word (column) in a review with each rating (row)."""
    near = np.abs(RATINGS[:, None] - RATINGS) == 1
    return RIGHT_OPINION * np.eye(5) + (1 - RIGHT_OPINION) * near / near.sum(axis=1, keepdims=True)


def _draw(chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64 [n]: one column a row, by the row's probabilities."""
    ends = np.cumsum(chances, axis=1)
    return (rng.random((len(chances), 1)) * ends[:, -1:] >= ends).sum(axis=1)


def _draw_sequences(
    causes: Causes, lengths: np.ndarray, longest: int, rng: np.random.Generator
) -> np.ndarray:
    """int64 [sum(lengths)]: each user's items in order."""
    users, user = len(lengths), np.arange(len(lengths))
    seen = np.zeros((users, len(causes.genre)), bool)
    last = np.full(users, -1)
    drawn = np.empty((users, longest), np.int64)
    for step in range(longest):
        drawn[:, step] = _draw(_next_probabilities(causes, user, last, seen), rng)
        seen[user, drawn[:, step]] = True
        last = causes.genre[drawn[:, step]]
    return drawn[np.arange(longest) < lengths[:, None]]


def _texts(
    causes: Causes, item: np.ndarray, rating: np.ndarray, rng: np.random.Generator
) -> dict[str, list[str]]:
    sentences, headlines = _sentence_table(), _headline_table()
    opening = rng.integers(0, len(OPENINGS), len(item))
    features = [names for names, _ in GENRES.values()]
    out: dict[str, list[str]] = {"review": [], "summary": [], "feature": [], "explanation": []}
    for row, genre in enumerate(causes.genre[item]):
        feature, score = int(causes.feature[row]), int(rating[row]) - 1
        first, second, third = (OPINIONS[place] for place in causes.opinions[row])
        names = features[genre]
        out["review"].append(
            f"{OPENINGS[opening[row]]} The {names[feature]} is {first} and the {names[causes.other[row]]} "
            f"seems {second}. Overall {third}."
        )
        out["summary"].append(headlines[genre][feature][score])
        out["feature"].append(names[feature])
        out["explanation"].append(sentences[genre][feature][score])
    return out


def _sentence_table() -> list[list[list[str]]]:
    """[genre][feature][rating − 1]: the explanations."""
    return [
        [[text.format(feature=feature, opinion=word) for word in OPINIONS] for feature in features]
        for features, text in GENRES.values()
    ]


def _headline_table() -> list[list[list[str]]]:
    return [
        [[text.format(feature=feature) for text in HEADLINES] for feature in features]
        for features, _ in GENRES.values()
    ]


def _item_ids(items: int) -> np.ndarray:
    """[items]: ids such that IndexedRecords gives the i-th of them the number i."""
    ids = [f"B{number:05d}" for number in range(items)]
    return np.array(ids, dtype=object)[item_order(ids)]


def _item_table(causes: Causes) -> pd.DataFrame:
    genres, makers = list(GENRES), list(MAKERS)
    ids = _item_ids(len(causes.genre))
    rows = []
    for number, (genre, maker, main) in enumerate(
        zip(causes.genre, causes.maker, causes.main_feature, strict=True)
    ):
        feature = GENRES[genres[genre]][0][main]
        title = f"{makers[maker]} {genres[genre].capitalize()} {feature.capitalize()} {number + 1}"
        rows.append((ids[number], title, genres[genre], makers[maker]))
    return pd.DataFrame(rows, columns=["item_id", "title", "genre", "maker"])


def _triples(causes: Causes) -> pd.DataFrame:
    table = _item_table(causes).melt("item_id", ["genre", "maker"], "relation", "tail")
    return table.rename(columns={"item_id": "head"})


def read_source(options: SimulatedOptions) -> Records:
    """``simulate`` with the options of `p5t5 prepare simulated`."""
    if options.users < 8 or options.items < 160:
        raise UserError("simulated: --users must be at least 8 and --items at least 160.")
    return simulate(options.users, options.items, options.seed).records

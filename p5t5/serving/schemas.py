"""What requests and answers look like, as pydantic models: they check bodies and make the OpenAPI description."""

# No `from __future__ import annotations`: the limits of a service are in the types, which pydantic must see.
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, create_model

from p5t5.serving.settings import Settings

INTEGER = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
NUMBER = Annotated[StrictFloat | INTEGER, Field(allow_inf_nan=False)]
MOST_VALUES = 100  # attributes of a condition, and values of an attribute

Fields = dict[str, Any]


class Shown(BaseModel):
    """An item of the catalogue."""

    item_id: str
    title: str
    attributes: dict[str, list[str] | float] = Field(description="attribute → values, or a number")


class Ranked(Shown):
    """An item with its score: higher is better, within one answer."""

    score: float
    why: dict[str, float] = Field(description="what put it there → share")


class Answered(BaseModel):
    """What every answer says: which checkpoint, and what the model read."""

    checkpoint: str = Field(description="digest of the checkpoint that answered")
    prompt: str | None = Field(description="id of the prompt; null where no model was asked")
    asked: str = Field(description="the prompt as text")
    tokens: list[str] = Field(description="the prompt as the model read it")


class RankedAnswer(Answered):
    items: list[Ranked] = Field(description="best first")


class RatingAnswer(Answered):
    item: Shown
    rating: float | None = Field(description="the expected rating")
    interval: list[float] | None = Field(description="the central 80 %, ends included")
    distribution: dict[str, float] = Field(description="rating → probability")


class TextAnswer(Answered):
    text: str
    item: Shown | None = None


class QueryAnswer(Answered):
    kind: str = Field(description="items, number or text")
    items: list[Ranked]
    value: float | None
    text: str
    interval: list[float] | None
    distribution: dict[str, float]
    task: str | None
    similarity: float
    linked: list[str] = Field(description="titles found in the question")
    notes: list[str] = Field(description="what was assumed, and what was not understood")
    request: dict[str, Any] = Field(description="what the question was read as")


class FeedbackAnswer(BaseModel):
    checkpoint: str
    item: Shown
    rating: float | None
    remembered: int = Field(description="how many things of the user count now")


class ItemsAnswer(BaseModel):
    checkpoint: str
    items: list[Shown]


class Description(BaseModel):
    name: str
    checkpoint: str
    items: int
    rating_values: list[float]
    attributes: dict[str, dict[str, Any]]
    tasks: list[str]
    limits: dict[str, int]
    users: bool


class Health(BaseModel):
    status: str
    checkpoint: str = ""


class Reloaded(BaseModel):
    checkpoint: str
    before: str


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    error: str
    remedy: str
    request_id: str


HEAT, ALIEN = "Heat (1995)", "Alien (1979)"
CONDITIONS = ("where", "without", "exclude")
# Operation → its fields, "!" behind those that must be given, and an example.
REQUESTS: dict[str, tuple[tuple[str, ...], Fields]] = {
    "recommend": (
        ("history", "user", "k", *CONDITIONS, "allow", "exclude_seen", "diversity"),
        {"history": [ALIEN, "Fargo (1996)"], "k": 5},
    ),
    "similar": (("item!", "k", *CONDITIONS, "allow"), {"item": HEAT, "k": 5}),
    "rank": (
        ("candidates!", "history", "user", *CONDITIONS),
        {"candidates": [HEAT, "Babe (1995)"], "history": [ALIEN]},
    ),
    "rate": (("item!", "history", "user"), {"item": HEAT, "history": [{"item": ALIEN, "rating": 5}]}),
    "explain": (("item!", "user", "feature"), {"item": HEAT, "user": 17}),
    "summarize": (
        ("review!", "user", "item"),
        {"review": "The plot was fine and the sound was better.", "user": 17, "item": HEAT},
    ),
    "query": (
        ("text!", "k", *CONDITIONS, "exclude_seen"),
        {"text": "I loved Alien (1979). What should I watch next?", "k": 5},
    ),
    "feedback": (("user!", "item!", "rating"), {"user": 17, "item": HEAT, "rating": 4}),
}
ANSWERS: dict[str, type[BaseModel]] = {
    "recommend": RankedAnswer,
    "similar": RankedAnswer,
    "rank": RankedAnswer,
    "rate": RatingAnswer,
    "explain": TextAnswer,
    "summarize": TextAnswer,
    "query": QueryAnswer,
    "feedback": FeedbackAnswer,
}
SUMMARIES = {
    "recommend": "The best items for a history or a user",
    "similar": "Items like one item",
    "rank": "Put candidates in order",
    "rate": "The expected rating of an item",
    "explain": "Why an item suits a user, in a sentence",
    "summarize": "A headline for a review",
    "query": "Answer a question in plain words",
    "feedback": "A user met an item: counts from the next request on",
}


def request_models(settings: Settings) -> dict[str, type[BaseModel]]:
    """Operation → the model of its body, with the limits of this service. Unknown fields are errors."""
    known = _fields(settings)
    models = {}
    for operation, (names, example) in REQUESTS.items():
        fields: Fields = {}
        for name in names:
            kind, default = known[name.rstrip("!")]
            fields[name.rstrip("!")] = (
                (kind, ...) if name.endswith("!") else (kind | None if default is None else kind, default)
            )
        models[operation] = _model(f"{operation.title()}Request", fields, example)
    return models


def _fields(settings: Settings) -> Fields:
    """Name → (type, default) of every field that a request may have."""

    def said(kind: Any, description: str = "", **limits: Any) -> Any:
        return Annotated[kind, Field(description=description or None, **limits)]

    def listed(kind: Any, description: str, **limits: Any) -> Any:
        return said(list[kind], description, max_length=settings.max_history, **limits)

    name: Any = said(StrictStr, min_length=1, max_length=settings.max_text) | INTEGER
    text: Any = said(StrictStr, min_length=1, max_length=settings.max_text)
    rated = _model(
        "Entry", {"item": (name, ...), "rating": (NUMBER | None, None)}, {"item": ALIEN, "rating": 4}
    )
    value: Any = said(StrictStr, max_length=settings.max_text) | NUMBER
    several: Any = said(list[value | None], max_length=MOST_VALUES)
    condition: Any = said(dict[str, value | several], max_length=MOST_VALUES)
    return {
        "item": (name, None),
        "user": (said(name, "a user of the data, or of /feedback"), None),
        "history": (listed(name | rated, "ids or titles, oldest first, perhaps with ratings"), []),
        "candidates": (listed(name, "what to put in order", min_length=1), []),
        "k": (said(StrictInt, "how many items", ge=1, le=settings.max_k), min(10, settings.max_k)),
        "where": (said(condition, "attribute → a value, values, or [lowest, highest]"), None),
        "without": (said(condition, "as where, to be left out"), None),
        "exclude": (listed(name, "never these items"), []),
        "allow": (listed(name, "only these items"), None),
        "exclude_seen": (said(StrictBool, "leave out what the history holds"), True),
        "diversity": (said(NUMBER, "0: the model's order; more: less alike", ge=0, le=1), 0.0),
        "feature": (said(StrictStr, "what to speak of", max_length=settings.max_text), ""),
        "review": (text, None),
        "text": (text, None),
        "rating": (said(NUMBER, "on the model's scale"), None),
    }


def _model(name: str, fields: Fields, example: dict[str, Any]) -> type[BaseModel]:
    config = ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})
    return create_model(name, __config__=config, **fields)

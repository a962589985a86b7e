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


def request_models(settings: Settings) -> dict[str, type[BaseModel]]:
    """Operation → the model of its body, with the limits of this service. Unknown fields are errors."""
    name: Any = Annotated[StrictStr, Field(min_length=1, max_length=settings.max_text)] | INTEGER
    text: Any = Annotated[StrictStr, Field(min_length=1, max_length=settings.max_text)]
    entry: Any = name | _model(
        "Entry", {"item": (name, ...), "rating": (NUMBER | None, None)}, {"item": "Heat (1995)", "rating": 4}
    )

    def listed(kind: Any) -> Any:
        return Annotated[list[kind], Field(max_length=settings.max_history)]

    value: Any = Annotated[StrictStr, Field(max_length=settings.max_text)] | NUMBER
    several: Any = Annotated[list[value | None], Field(max_length=MOST_VALUES)]
    condition: Any = Annotated[dict[str, value | several], Field(max_length=MOST_VALUES)] | None
    k = (
        Annotated[StrictInt, Field(ge=1, le=settings.max_k, description="how many items")],
        min(10, settings.max_k),
    )
    user = (Annotated[name | None, Field(description="a user of the data, or of /feedback")], None)
    where = (Annotated[condition, Field(description="attribute → value, values, or [lowest, highest]")], None)
    without = (Annotated[condition, Field(description="as where, to be left out")], None)
    exclude: Any = (Annotated[listed(name), Field(description="never these items")], [])
    allow = (Annotated[listed(name) | None, Field(description="only these items")], None)
    history: Any = (
        Annotated[listed(entry), Field(description="ids or titles, oldest first, perhaps with ratings")],
        [],
    )
    seen = (Annotated[StrictBool, Field(description="leave out what the history holds")], True)
    conditions: Fields = {"where": where, "without": without, "exclude": exclude}
    return {
        "recommend": _model(
            "RecommendRequest",
            {
                "history": history,
                "user": user,
                "k": k,
                **conditions,
                "allow": allow,
                "exclude_seen": seen,
                "diversity": (
                    Annotated[NUMBER, Field(ge=0, le=1, description="0: the model's order; more: less alike")],
                    0.0,
                ),
            },
            {"history": ["Alien (1979)", "Fargo (1996)"], "k": 5},
        ),
        "similar": _model(
            "SimilarRequest", {"item": (name, ...), "k": k, **conditions, "allow": allow}, {"item": "Heat (1995)", "k": 5}
        ),
        "rank": _model(
            "RankRequest",
            {
                "candidates": (Annotated[listed(name), Field(min_length=1)], ...),
                "history": history,
                "user": user,
                **conditions,
            },
            {"candidates": ["Heat (1995)", "Babe (1995)"], "history": ["Alien (1979)"]},
        ),
        "rate": _model(
            "RateRequest",
            {"item": (name, ...), "history": history, "user": user},
            {"item": "Heat (1995)", "history": [{"item": "Alien (1979)", "rating": 5}]},
        ),
        "explain": _model(
            "ExplainRequest",
            {
                "item": (name, ...),
                "user": user,
                "feature": (
                    Annotated[StrictStr, Field(max_length=settings.max_text, description="what to speak of")],
                    "",
                ),
            },
            {"item": "Heat (1995)", "user": 17},
        ),
        "summarize": _model(
            "SummarizeRequest",
            {"review": (text, ...), "user": user, "item": (name | None, None)},
            {"review": "The plot was fine and the sound was better.", "user": 17, "item": "Heat (1995)"},
        ),
        "query": _model(
            "QueryRequest",
            {"text": (text, ...), "k": k, **conditions, "exclude_seen": seen},
            {"text": "I loved Alien (1979). What should I watch next?", "k": 5},
        ),
        "feedback": _model(
            "FeedbackRequest",
            {
                "user": (name, ...),
                "item": (name, ...),
                "rating": (Annotated[NUMBER | None, Field(description="on the model's scale")], None),
            },
            {"user": 17, "item": "Heat (1995)", "rating": 4},
        ),
    }  # fmt: skip


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


def _model(name: str, fields: Fields, example: dict[str, Any]) -> type[BaseModel]:
    config = ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})
    return create_model(name, __config__=config, **fields)

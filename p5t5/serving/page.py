"""The page for people: build a history, see what is recommended and why, rate, ask in words, and look at what the model read.

Needs the extra ``ui``. The same file is a Hub Space: ``space()`` builds the page from a model folder.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from p5t5.core.display import shown_title
from p5t5.core.errors import UserError
from p5t5.serving import page_html as show
from p5t5.serving.batching import Refused
from p5t5.serving.service import Service
from p5t5.serving.settings import Settings

if TYPE_CHECKING:
    import gradio

UNRATED = "none"
MOST_VALUES = 200  # of an attribute in a menu of filters
FOUND = 8  # items shown for a search
MOST_KNOWN = 40  # items of a history, the last ones
EMPTY = "Nothing yet: search above and click what you know, oldest first."
QUESTIONS = ("What is popular?", "Something like {0}?", "I loved {0}, but {1} bored me. What next?")
SYSTEM_FONTS = ("system-ui", "sans-serif")
MONO_FONTS = ("ui-monospace", "Consolas", "monospace")


def page(service: Service) -> gradio.Blocks:
    """The page over a service. UserError where the extra ``ui`` is not installed."""
    gr = _gradio()
    about = service.describe()
    titles = [item["title"] for item in service.items("", 2)["items"]]
    with gr.Blocks(title=f"p5t5 · {about['name']}", analytics_enabled=False) as blocks:
        gr.HTML(
            f'<div class="p5-head"><h1>{show.escaped(about["name"])}</h1><p>{about["items"]:,} items · '
            f"checkpoint {show.escaped(about['checkpoint'])}</p></div>"
        )
        history = gr.State([])
        read = gr.State({})
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                _history(gr, service, about, history)
                filters, count = _filters(gr, about)
            with gr.Column(scale=7, min_width=320), gr.Tabs():
                with gr.Tab("Recommendations"):
                    _recommendations(gr, service, history, filters, count, read)
                if about["rating_values"]:
                    with gr.Tab("Rate"):
                        _rate(gr, service, about, history, read)
                with gr.Tab("Ask"):
                    _ask(gr, service, titles, count, read)
        _what_was_read(gr, read)
    return blocks


def look() -> dict[str, Any]:
    """Theme and style, as `gradio.mount_gradio_app` and `launch` take them: fonts of the machine, nothing from elsewhere."""
    gr = _gradio()
    return {
        "theme": gr.themes.Default(primary_hue="indigo", font=SYSTEM_FONTS, font_mono=MONO_FONTS),
        "css": show.CSS,
    }


def space(model: str = "") -> None:
    """Serves the page alone, as a Hub Space does: of ``model``, else of P5T5_MODEL, else of the folder model."""
    chosen = model or os.environ.get("P5T5_MODEL", "model")
    page(Service(Settings(chosen))).launch(show_error=True, **look())


def _gradio() -> Any:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError as error:
        raise UserError('the page needs the extra ui: pip install "p5t5[ui]".') from error
    return gradio


def _history(gr: Any, service: Service, about: dict[str, Any], history: Any) -> None:
    """Search, click, and the list of what was clicked.

    All buttons are there from the beginning, most of them hidden: buttons that come and go lose clicks.
    """
    gr.Markdown("### What you know")
    found = gr.State([])
    with gr.Row():
        search = gr.Textbox(label="Find an item", placeholder="a part of its title", elem_id="find", scale=3)
        scale = [UNRATED, *(f"{value:g}" for value in reversed(about["rating_values"]))]
        rating = gr.Dropdown(
            scale, value=UNRATED, label="Rating", scale=1, min_width=120, visible=len(scale) > 1
        )
    hint = gr.HTML(show.message(EMPTY))
    with gr.Column(elem_classes="p5-pick"):
        results = [gr.Button("", size="sm", visible=False) for _ in range(FOUND)]
    with gr.Column(elem_classes="p5-pick"):
        kept = [gr.Button("", size="sm", visible=False) for _ in range(MOST_KNOWN)]

    def look_up(text: str, known: list) -> list:
        items = _kindly(lambda: service.items(text, FOUND)["items"], []) if text.strip() else []
        said = (
            ""
            if items or (known and not text.strip())
            else "No title is like this."
            if text.strip()
            else EMPTY
        )
        words = [f"+ {shown_title(item['title'])}" for item in items]
        return [items, _hint(gr, said), *_labels(gr, words, FOUND)]

    def add(place: int, items: list, known: list, stars: str) -> list:
        if place >= len(items):
            return [known, stars, ""]
        rated = None if stars == UNRATED else float(stars)
        added = {"item": items[place]["item_id"], "title": items[place]["title"], "rating": rated}
        others = [one for one in known if one["item"] != added["item"]]
        return [[*others, added][-MOST_KNOWN:], UNRATED, ""]

    def remove(place: int, known: list) -> list:
        return [*known[:place], *known[place + 1 :]]

    def list_known(known: list) -> list:
        words = [
            f"✕ {shown_title(one['title'])}" + ("" if one["rating"] is None else f"   ★ {one['rating']:g}")
            for one in known
        ]
        return [_hint(gr, "" if known else EMPTY), *_labels(gr, words, MOST_KNOWN)]

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    search.change(look_up, [search, history], [found, hint, *results], trigger_mode="always_last", **quietly)
    for place, button in enumerate(results):
        button.click(partial(add, place), [found, history, rating], [history, rating, search], **quietly)
    for place, button in enumerate(kept):
        button.click(partial(remove, place), [history], [history], **quietly)
    history.change(list_known, [history], [hint, *kept], **quietly)


def _hint(gr: Any, text: str) -> Any:
    return gr.HTML(show.message(text) if text else "", visible=bool(text))


def _labels(gr: Any, words: list[str], most: int) -> list[Any]:
    """Updates of ``most`` buttons: the first ones say the words, the others hide."""
    return [
        gr.Button(words[place] if place < len(words) else "", visible=place < len(words))
        for place in range(most)
    ]


def _filters(gr: Any, about: dict[str, Any]) -> tuple[list[tuple[str, str, Any]], Any]:
    """(kind, attribute, component) for each filter, and how many items to list."""
    filters: list[tuple[str, str, Any]] = []
    with gr.Accordion("Filters", open=False):
        for name, known in about["attributes"].items():
            if "values" in known and 1 < len(known["values"]) <= MOST_VALUES:
                with gr.Row():
                    for kind, words in (("where", "only"), ("without", "no")):
                        menu = gr.Dropdown(
                            known["values"],
                            value=[],
                            multiselect=True,
                            label=f"{words} {name}",
                            min_width=140,
                        )
                        filters.append((kind, name, menu))
            elif known.get("lowest") is not None and known["lowest"] < known["highest"]:
                with gr.Row():
                    for end in ("lowest", "highest"):
                        words = "from" if end == "lowest" else "to"
                        number = gr.Textbox(
                            label=f"{name} {words}",
                            placeholder=f"{known[end]:g}",
                            max_length=12,
                            min_width=140,
                        )
                        filters.append((end, name, number))
        most = min(20, about["items"], about["limits"]["max_k"])
        count = gr.Slider(1, most, value=min(10, most), step=1, label="how many")
    return filters, count


def conditions(filters: list[tuple[str, str]], values: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``where`` and ``without`` of the filters' (kind, attribute) and values. UserError for a bound that is no number."""
    where: dict[str, Any] = {}
    without: dict[str, Any] = {}
    for (kind, name), value in zip(filters, values, strict=True):
        if not value:
            continue
        if kind in ("where", "without"):
            (where if kind == "where" else without)[name] = list(value)
            continue
        try:
            number = float(value)
        except ValueError:
            raise UserError(f"{name}: {value!r} is no number.") from None
        low, high = where.get(name, (None, None))
        where[name] = (number, high) if kind == "lowest" else (low, number)
    return where, without


def _recommendations(
    gr: Any, service: Service, history: Any, filters: list[tuple[str, str, Any]], count: Any, read: Any
) -> None:
    shown = gr.HTML(show.message("Recommendations appear here as soon as you have named an item."))
    names = [(kind, name) for kind, name, _ in filters]

    def recommend(known: list, k: float, *values: Any) -> tuple[str, dict]:
        if not known and not any(values):
            return show.message("Recommendations appear here as soon as you have named an item."), {}
        where, without = conditions(names, list(values))
        asked: dict[str, Any] = {
            "history": [_plain(one) for one in known],
            "k": int(k),
            "where": where,
            "without": without,
        }
        answer = service.recommend(**asked)
        return show.ranked(answer["items"]), {"request": asked, **_read(answer)}

    inputs = [history, count, *(component for _, _, component in filters)]
    for trigger in inputs:
        trigger.change(
            _told(recommend), inputs, [shown, read], api_visibility="private", trigger_mode="always_last"
        )


def _rate(gr: Any, service: Service, about: dict[str, Any], history: Any, read: Any) -> None:
    item = gr.Textbox(label="How would you rate", placeholder="a title", elem_id="rate-item")
    button = gr.Button("Guess my rating", variant="primary")
    shown = gr.HTML("")

    def rate(known: list, title: str) -> tuple[str, dict]:
        if not title.strip():
            return show.message("Name an item first."), {}
        asked: dict[str, Any] = {"item": title.strip(), "history": [_plain(one) for one in known]}
        answer = service.rate(**asked)
        return show.rating(answer, title.strip(), about["rating_values"]), {"request": asked, **_read(answer)}

    for trigger in (button.click, item.submit):
        trigger(_told(rate), [history, item], [shown, read], api_visibility="private")


def _ask(gr: Any, service: Service, titles: list[str], count: Any, read: Any) -> None:
    named = [*titles, "…", "…"]
    question = gr.Textbox(
        label="Ask in your own words",
        lines=2,
        max_lines=6,
        max_length=2000,
        placeholder="I loved …, but … bored me. What next?",
        elem_id="question",
    )
    button = gr.Button("Ask", variant="primary")
    shown = gr.HTML("")

    def ask(text: str, k: float) -> tuple[str, dict]:
        if not text.strip():
            return show.message("Ask something first."), {}
        answer = service.query(text, int(k))
        return show.answered(answer), {"request": answer["request"], **_read(answer)}

    for trigger in (button.click, question.submit):
        trigger(_told(ask), [question, count], [shown, read], api_visibility="private")
    gr.Markdown("For example:")
    for words in QUESTIONS:
        filled = words.format(*named)
        example = gr.Button(filled, size="sm", elem_classes="p5-pick")
        example.click(partial(str, filled), None, [question], api_visibility="private")


def _what_was_read(gr: Any, read: Any) -> None:
    with gr.Accordion("What the model read", open=False):
        request = gr.Code(label="the request", language="json", interactive=False, wrap_lines=True)
        prompt = gr.Textbox(label="the prompt", interactive=False, lines=2, max_lines=8)
        tokens = gr.HTML("")

    def shown(what: dict) -> tuple[str, str, str]:
        if not what:
            return "", "", ""
        head = f"{what['prompt']}: " if what.get("prompt") else ""
        return show.as_json(what["request"]), head + what["asked"], show.tokens(what["tokens"])

    read.change(shown, [read], [request, prompt, tokens], api_visibility="private")


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of the history as the service takes it."""
    rated = {} if entry["rating"] is None else {"rating": entry["rating"]}
    return {"item": entry["item"], **rated}


def _read(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in ("prompt", "asked", "tokens")}


def _told(function: Any) -> Any:
    """The function, with a user's mistake as a message instead of an error."""

    def tell(*values: Any) -> tuple[str, dict]:
        try:
            return function(*values)
        except UserError as error:
            return show.message(str(error)), {}
        except Refused as error:
            return show.message(f"{error}. {error.remedy}"), {}

    return tell


def _kindly(function: Any, otherwise: Any) -> Any:
    try:
        return function()
    except UserError:
        return otherwise

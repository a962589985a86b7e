"""The page as a person uses it, in a headless Chromium: desktop and phone, mouse and keyboard, light and dark."""

from __future__ import annotations

import shutil
import socket
import threading
import urllib.error
import urllib.request

import pytest
from support.films import FILMS, film_records
from support.writing_cases import untrained

from p5t5.data.splits import leave_one_out
from p5t5.serving.app import app
from p5t5.serving.settings import Settings

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Tags are taken out of titles when data is prepared; what a title can still hold must be text here.
HOSTILE = "\" onmouseover=alert(1) ${document.title='hacked'} [x](javascript:alert(1)) {{7*7}}"
FIND = "#find textarea, #find input"
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the page of a dozen films answers; the model is untrained, so any list is as good."""
    import uvicorn

    folder = tmp_path_factory.mktemp("model")
    untrained(leave_one_out(film_records([*FILMS, HOSTILE]).index())).save(folder)
    made = app(Settings(str(folder), ui=True), key="")
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(made, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/ui"
    server.should_exit = True
    thread.join(1)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def tab(request, browser, address):
    """A fresh tab with the page; fails on an error in the console, and where the page is wider than the screen."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened, errors, elsewhere = context.new_page(), [], []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on(
        "request", lambda one: None if address.removesuffix("/ui") in one.url else elsewhere.append(one.url)
    )
    opened.goto(address, wait_until="domcontentloaded")
    wake(opened)
    yield opened
    assert not errors and "hacked" not in opened.title()
    assert not [url for url in elsewhere if url.startswith("http")], "nothing is loaded from elsewhere"
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def wake(tab) -> None:
    """Types until the page, which may still be starting, answers."""
    tab.wait_for_selector("#find")
    for _ in range(20):
        tab.fill(FIND, "no such title")
        try:
            tab.get_by_text("No title is like this.").wait_for(timeout=3000)
            break
        except Exception as error:  # playwright's own TimeoutError, which is imported lazily
            assert "Timeout" in type(error).__name__
            tab.fill(FIND, "")
    tab.fill(FIND, "")


def add(tab, words: str, title: str) -> None:
    tab.fill(FIND, words)
    tab.get_by_role("button", name=f"+ {title}").click()
    tab.get_by_role("button", name=f"✕ {title}").wait_for()


def test_a_history_gives_reasoned_recommendations_and_filters_hold(tab):
    add(tab, "alien", "Alien (1979)")
    add(tab, "HEAT", "Heat (1995)")
    titles = "Array.from(document.querySelectorAll('.p5-title'), one => one.innerText)"
    tab.wait_for_function(f"{titles}.length == 10 && !{titles}.includes('Heat (1995)')")
    assert "Alien (1979)" not in tab.locator(".p5-title").all_inner_texts()
    assert "the model's choice" in tab.locator(".p5-why").all_inner_texts()[1]
    tab.get_by_text("Filters").first.click()
    tab.get_by_label("only genre").click()
    tab.get_by_role("option", name="Comedy").click()
    tab.wait_for_function("document.querySelectorAll('.p5-list li').length < 10")
    assert all("Comedy" in text for text in tab.locator(".p5-list .p5-why").all_inner_texts())
    tab.get_by_text("What you know").click()  # closes the menu, which moves what is below it
    tab.get_by_role("button", name="✕ Alien (1979)").click()
    tab.get_by_role("button", name="✕ Alien (1979)").wait_for(state="detached")


def test_questions_ratings_and_what_the_model_read(tab):
    tab.get_by_role("tab", name="Ask").click()
    tab.fill("#question textarea", "I loved Alien (1979). What next?")
    tab.get_by_role("button", name="Ask", exact=True).click()
    tab.locator(".p5-list:visible li").first.wait_for()
    tab.get_by_text("What the model read").click()
    tab.locator(".p5-tokens span").first.wait_for()
    assert '"liked"' in tab.locator(".cm-content").inner_text()
    assert "<item_" in tab.get_by_label("the prompt").input_value()
    tab.fill("#question textarea", "hello, zxqv?")
    tab.get_by_role("button", name="Ask", exact=True).click()
    tab.get_by_text("Ask in English, for example").wait_for()
    tab.get_by_role("tab", name="Rate").click()
    tab.fill("#rate-item textarea, #rate-item input", "Fargo (1996)")
    tab.get_by_role("button", name="Guess my rating").click()
    tab.get_by_text("Expected rating of Fargo (1996)").wait_for()
    tab.fill("#rate-item textarea, #rate-item input", "No such film")
    tab.get_by_role("button", name="Guess my rating").click()
    tab.get_by_text("is not in the catalogue").wait_for()


def test_a_hostile_title_is_text(tab):
    add(tab, "onmouseover", HOSTILE)
    tab.get_by_role("tab", name="Ask").click()
    tab.fill("#question textarea", "<img src=x onerror=document.title='hacked'> something like <b>alien</b>")
    tab.get_by_role("button", name="Ask", exact=True).click()
    tab.locator(".p5-card:visible, .p5-list:visible li").first.wait_for()
    assert tab.locator("img[src=x]").count() == 0
    assert tab.locator("[onmouseover], a[href^='javascript']").count() == 0


def test_the_keyboard_is_enough(browser, address):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.goto(address, wait_until="domcontentloaded")
    wake(tab)
    tab.locator(FIND).focus()
    tab.keyboard.type("alien (")
    tab.get_by_role("button", name="+ Alien (1979)").wait_for()
    for _ in range(6):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.innerText").startswith("+ Alien"):
            break
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="✕ Alien (1979)").wait_for()
    tab.locator(".p5-list li").first.wait_for()
    context.close()


@pytest.mark.parametrize("path", ["/etc/passwd", "model.safetensors", "../../etc/passwd"])
def test_no_file_can_be_read(address, path):
    for route, prefix in (("gradio_api/file=", "/ui"), ("file=", "/ui"), ("file=", "")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address.removesuffix('/ui')}{prefix}/{route}{path}", timeout=10)
        assert refused.value.code in (403, 404)

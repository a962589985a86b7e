"""Pictures of the page for the docs, taken in a headless Chromium from a real model.

python benchmarks/page_pictures.py --model runs/quickstart/model --out docs/pictures

Needs p5t5[ui], playwright and a Chromium on the PATH. Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def served(model: str) -> tuple[str, Any]:
    """The address of the page on this machine, and the server to stop."""
    import uvicorn
    from fastapi import FastAPI
    from gradio import mount_gradio_app

    from p5t5.serving.page import look, page
    from p5t5.serving.service import Service
    from p5t5.serving.settings import Settings

    app = mount_gradio_app(FastAPI(), page(Service(Settings(model))), path="/", **look())
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}", server


def opened(browser: Any, address: str, width: int, height: int, scheme: str) -> Any:
    tab = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    tab.goto(address, wait_until="domcontentloaded")
    tab.wait_for_selector("#find")
    return tab


def desktop(browser: Any, address: str, out: Path) -> None:
    """A history, its recommendations, and what the model read."""
    tab = opened(browser, address, 1280, 1180, "light")
    for words, title in (("alien", "Alien (1979)"), ("fargo", "Fargo (1996)")):
        tab.fill("#find textarea, #find input", words)
        tab.get_by_role("button", name=f"+ {title}").click()
        tab.get_by_role("button", name=f"✕ {title}").wait_for()
    tab.locator(".p5-list li").first.wait_for()
    tab.get_by_text("What the model read").click()
    tab.locator(".p5-tokens span").first.wait_for()
    tab.wait_for_timeout(500)
    tab.screenshot(path=out / "page-desktop.png")


def phone(browser: Any, address: str, out: Path) -> None:
    """A question in words, on a phone in the dark."""
    tab = opened(browser, address, 390, 960, "dark")
    tab.get_by_role("tab", name="Ask").click()
    tab.fill("#question textarea", "I loved Alien, but Titanic bored me to tears. Three comedies?")
    tab.get_by_role("button", name="Ask", exact=True).click()
    tab.locator(".p5-list:visible li").first.wait_for()
    tab.wait_for_timeout(500)
    tab.screenshot(path=out / "page-phone.png")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a fine-tuned model of MovieLens-100K")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder for the pictures")
    options = parser.parse_args(argv)
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        parser.error(f"no browser on the PATH: one of {', '.join(BROWSERS)} is needed")
    from playwright.sync_api import sync_playwright

    options.out.mkdir(parents=True, exist_ok=True)
    address, server = served(options.model)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        for picture in (desktop, phone):
            picture(browser, address, options.out)
        browser.close()
    server.should_exit = True
    print(*sorted(str(path) for path in options.out.glob("page-*.png")), sep="\n")


if __name__ == "__main__":
    main()

"""A real browser for pages: the system's chromium, driven by Playwright, without any network.

Knows nothing of what is on a page. What is missing is said, and skips the test; nothing is ever downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WORDS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
)  # fmt: skip

Open = Callable[..., "Page"]


@contextmanager
def running() -> Iterator[Browser]:
    """A browser that has begun. Skips where there is none."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium is installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("Playwright is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(WORDS))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[tuple[Page, list[str]]]:
    """A page from a file, and all that went wrong in it: errors, warnings, dialogs, and whatever it asked for beside
    itself. `options` are those of a context: `color_scheme`, `viewport`."""
    wrong: list[str] = []
    context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 860}), **options)
    try:
        page = context.new_page()

        def refuse(dialog: Dialog) -> None:
            wrong.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda told: wrong.append(f"{told.type}: {told.text}"))
        page.on("dialog", refuse)
        page.on("request", lambda asked: wrong.append(asked.url) if asked.url != path.as_uri() else None)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=yes]")
        yield page, wrong
    finally:
        context.close()

"""What all browser tests share: a headless Chromium with the world outside shut off and every attempt noted.

from browser import browser, visit  # noqa: F401  (fixtures)

def test_a_page(visit):
    page = visit("file:///.../index.html", color_scheme="dark")
    assert not barriers(page)
    assert not visit.outside and not visit.errors
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def browser_or_skip() -> Iterator[object]:
    """A Chromium. Where there is none the test is skipped and says why; in CI (variable CI set) it fails.

    Close it before a test of another kind begins: while it is open, playwright keeps an event loop running.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _skip("The Python package playwright is missing: pip install 'minigrok[test]'.")
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, NAMES)), None) or playwright.chromium.executable_path
        if not Path(path).exists():
            _skip(
                "There is no Chromium: install your system's, or run `python -m playwright install chromium`."
            )
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def _skip(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{why} In CI the browser tests must run.")
    pytest.skip(f"{why} Browser tests are skipped.")


class Visits:
    """Opens pages; whatever is asked of another machine is refused and noted in `outside`.

    `errors` has the errors of the pages' scripts.
    """

    def __init__(self, browser: object):
        self._browser, self._contexts = browser, []
        self.outside: list[str] = []
        self.errors: list[str] = []

    def __call__(self, url: str, **options: object) -> object:
        """Open a page in a fresh profile; the options are those of playwright's `new_context`."""
        context = self._browser.new_context(service_workers="block", **options)
        self._contexts.append(context)
        context.route(_is_outside, lambda route: route.abort())
        context.route_web_socket(
            _is_outside, lambda socket: (self.outside.append(socket.url), socket.close())
        )
        context.on("request", lambda request: _is_outside(request.url) and self.outside.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def _is_outside(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("127.0.0.1", "localhost")


def barriers(page: object, known: tuple[str, ...] = ()) -> list[str]:
    """What axe-core finds against accessibility: "rule: element", without the rules and elements known."""
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        _skip("The Python package axe-playwright-python is missing: pip install 'minigrok[test]'.")
    found = [
        f"{violation['id']}: {' '.join(map(str, node['target']))}"
        for violation in Axe().run(page).response["violations"]
        for node in violation["nodes"]
    ]
    return [line for line in found if not any(part in line for part in known)]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with browser_or_skip() as chromium:
        yield chromium


@pytest.fixture
def visit(browser: object) -> Iterator[Visits]:
    visits = Visits(browser)
    yield visits
    visits.close()

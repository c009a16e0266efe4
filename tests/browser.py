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


# The two rules of axe that look at colours: all others see the same page in light and in dark.
COLOURS = ("color-contrast", "link-in-text-block")


def barriers(page: object) -> list[str]:
    """What axe-core finds against accessibility: "rule: element"."""
    return _axe(page, "document", {})


def barriers_of_colour(page: object) -> list[str]:
    """What the rules for colours find, in a tenth of their time: they look at three texts of each kind.

    Texts of one kind have the same colour, size and weight, stand in a text of the same colour, and have the
    same grounds behind them, up to the page's: so they have the same contrast. Whatever is lifted out of the
    flow of the page, and may lie over others, is a kind of its own.
    """
    page.evaluate(MARK_KINDS)
    return _axe(page, {"include": [["[data-kind]"]]}, {"runOnly": COLOURS})


def barriers_but_colour(page: object) -> list[str]:
    """What all other rules find."""
    return _axe(page, "document", {"rules": {name: {"enabled": False} for name in COLOURS}})


MARK_KINDS = """() => {
    const grounds = new Map([[null, ""]]), kinds = {};
    const ground = (element) => {
        if (!grounds.has(element)) {
            const style = getComputedStyle(element);
            let own = [style.backgroundColor, style.backgroundImage, style.opacity, style.filter].join();
            if (own === "rgba(0, 0, 0, 0),none,1,none") own = "";
            if (!["static", "relative"].includes(style.position)) own += ` lifted ${grounds.size}`;
            grounds.set(element, ground(element.parentElement) + (own && "/" + own));
        }
        return grounds.get(element);
    };
    const SEEN = {visibilityProperty: true, opacityProperty: true};
    const holdsText = (element) => element.matches("input, select, textarea") ||
        [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    for (const element of document.body.querySelectorAll("*")) {
        delete element.dataset.kind;
        if (!holdsText(element) || !element.checkVisibility(SEEN)) continue;
        const style = getComputedStyle(element), around = getComputedStyle(element.parentElement);
        const kind = [element.matches("a, input, select, textarea") && element.tagName,
            style.color, style.fill, style.fontSize, style.fontWeight, style.textShadow,
            style.textDecorationLine, around.color, around.display, ground(element)].join("|");
        kinds[kind] = (kinds[kind] ?? 0) + 1;
        if (kinds[kind] <= 3) element.dataset.kind = kinds[kind];
    }
}"""


def _axe(page: object, where: object, options: dict) -> list[str]:
    try:
        from axe_playwright_python.base import AXE_SCRIPT
    except ImportError:
        _skip("The Python package axe-playwright-python is missing: pip install 'minigrok[test]'.")
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(
        """async ([where, options]) => {
            const result = await axe.run(where === "document" ? document : where, options);
            return result.violations.flatMap((rule) => rule.nodes.map((node) => [rule.id, ...node.target]));
        }""",
        [where, {"resultTypes": ["violations"]} | options],
    )
    return [f"{rule}: {' '.join(map(str, target))}" for rule, *target in found]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with browser_or_skip() as chromium:
        yield chromium


@pytest.fixture
def visit(browser: object) -> Iterator[Visits]:
    visits = Visits(browser)
    yield visits
    visits.close()

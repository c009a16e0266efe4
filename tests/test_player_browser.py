"""The player in a real browser: keys, mouse and touch, without scripts, light and dark, twice on a page."""

import io
import sys

import numpy as np
import pytest
from browser import barriers, browser, browser_or_skip, visit  # noqa: F401
from PIL import Image

from minigrok.course.player import player

STEPS = [0, 1, 10, 100, 1000]
TRAIN = [0.5, 0.6, 0.9, 1.0, 1.0]
TEST = [[0.5, 0.5, 0.6, 0.7, 0.9], [0.4, 0.5, 0.5, 0.8, 1.0], [0.5, 0.5, 0.7, 0.9, 0.98]]
SHADES = [20, 60, 120, 180, 240]


def film(title="Shades", **options):
    pictures = [np.full((40, 60, 3), shade, dtype=np.uint8) for shade in SHADES]
    curves = {"train accuracy": TRAIN, "test accuracy": TEST}
    defaults = {
        "alt": "Light grey.",
        "telling": 3,
        "captions": [f"Shade {s}." for s in SHADES],
        "ylabels": "accuracy",
    }
    return player(STEPS, curves, {"shade": pictures}, title=title, **(defaults | options))


@pytest.fixture
def show(visit, tmp_path):  # noqa: F811
    """Write players into a page on disk and open it."""

    def show(*players, head="", **options):
        path = tmp_path / "page.html"
        body = "".join(p._repr_html_() for p in players)
        path.write_text(
            "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Players</title>"
            "<meta name='viewport' content='width=device-width'><style>:root{color-scheme:light dark}"
            f"</style>{head}</head><body><main><h1>Players</h1>{body}</main></body></html>",
            encoding="utf-8",
        )
        return visit(path.as_uri(), **options)

    yield show
    assert not visit.outside and not visit.errors


def shade(page, k=0):
    """The grey of the picture as the browser shows it."""
    box = page.locator(".mgp-picture img").nth(k)
    box.evaluate("image => image.decode()")
    pixels = np.asarray(Image.open(io.BytesIO(box.screenshot())).convert("L"))
    return int(np.median(pixels))


def cursor(page, k=0):
    """Where the cursor stands, in the units of the drawing."""
    return page.locator(".mgp-cursor").nth(k).evaluate("g => g.transform.baseVal.getItem(0).matrix.e")


def at(page, k=0):
    return int(page.locator("input[type=range]").nth(k).input_value())


def test_the_telling_picture_comes_first_and_keys_move_everything_together(show):
    page = show(film())
    bar = page.get_by_role("slider", name="training step")
    assert (at(page), shade(page)) == (3, 180)
    assert page.locator(".mgp-picture img").get_attribute("alt") == "Light grey."
    before = cursor(page)
    bar.focus()
    page.keyboard.press("ArrowLeft")
    assert (at(page), shade(page)) == (2, 120)
    assert cursor(page) < before
    assert page.locator(".mgp-value").all_inner_texts() == ["0.90", "0.60"], (
        "the run, and the median of the seeds"
    )
    assert page.locator(".mgp-step").inner_text() == "training step 10"
    assert page.locator(".mgp-caption").inner_text() == "Shade 120."
    said = "training step 10; train accuracy 0.90; test accuracy 0.60. Shade 120."
    assert bar.get_attribute("aria-valuetext") == said
    assert page.locator(".mgp-picture img").get_attribute("alt") == "shade, " + said
    for key, position in {"Home": 0, "End": 4, "ArrowDown": 3, "ArrowUp": 4, "ArrowRight": 4}.items():
        page.keyboard.press(key)
        assert (at(page), shade(page)) == (position, SHADES[position]), key


def test_buttons_step_and_speak_and_arrows_work_on_them(show):
    page = show(film())
    page.get_by_role("button", name="Step back").click()
    assert at(page) == 2 and "train accuracy 0.90" in page.get_by_role("status").inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Home")
    assert at(page) == 0 and "training step 0" in page.get_by_role("status").inner_text()
    page.get_by_role("button", name="Step back").click()
    assert at(page) == 0, "stays at the end"
    page.get_by_role("button", name="Step forward").click()
    assert (at(page), shade(page)) == (1, 60)


def test_play_runs_to_the_end_and_space_pauses(show):
    page = show(film(telling=0))
    page.get_by_role("slider").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    page.wait_for_function("document.querySelector('input[type=range]').value === '2'")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Play").wait_for()
    paused = at(page)
    page.wait_for_timeout(1500)
    assert at(page) == paused
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('input[type=range]').value === '4'")
    page.get_by_role("button", name="Play").wait_for()
    assert "training step 1,000" in page.get_by_role("status").inner_text()


def test_nothing_moves_by_itself_and_reduced_motion_is_slow(show):
    page = show(film(telling=0), reduced_motion="reduce")
    page.wait_for_timeout(700)
    assert at(page) == 0
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(1000)
    assert at(page) == 0, "a second and a half for each step"
    page.wait_for_function("document.querySelector('input[type=range]').value === '1'")


def test_the_curve_can_be_dragged_with_a_mouse(show):
    page = show(film())
    plot = page.locator(".mgp-plot > svg").bounding_box()
    middle = plot["y"] + plot["height"] / 2
    page.mouse.move(plot["x"] + plot["width"] - 20, middle)
    page.mouse.down()
    assert at(page) == 4
    page.mouse.move(plot["x"] + 50, middle)
    assert (at(page), shade(page)) == (0, 20)
    page.mouse.up()
    page.mouse.move(plot["x"] + plot["width"] - 20, middle)
    assert at(page) == 0, "only while the button is down"


def test_the_curve_can_be_touched(show):
    page = show(film(), has_touch=True, viewport={"width": 390, "height": 844})
    plot = page.locator(".mgp-plot > svg").bounding_box()
    page.touchscreen.tap(plot["x"] + plot["width"] * 0.2, plot["y"] + plot["height"] / 2)
    assert (at(page), shade(page)) == (1, 60)


def test_on_a_phone_the_panels_stand_below_each_other_and_nothing_sticks_out(show):
    page = show(film(), viewport={"width": 390, "height": 844})
    picture = page.locator(".mgp-picture").bounding_box()
    curves = page.locator(".mgp-curves").bounding_box()
    assert curves["y"] >= picture["y"] + picture["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_players_on_one_page_do_not_move_each_other(show):
    other = film("Other", telling=1)
    page = show(film(), other, other)
    page.get_by_role("slider").nth(1).focus()
    page.keyboard.press("End")
    assert [at(page, k) for k in range(3)] == [3, 4, 1]
    assert [shade(page, k) for k in range(3)] == [180, 240, 60]
    assert cursor(page, 1) > cursor(page, 0) > cursor(page, 2)


def test_without_scripts_the_telling_picture_and_the_curves_stand_there(show):
    page = show(film(), java_script_enabled=False)
    assert page.get_by_role("img", name="Light grey.").is_visible()
    pixels = np.asarray(Image.open(io.BytesIO(page.locator(".mgp-picture img").screenshot())).convert("L"))
    assert int(np.median(pixels)) == 180
    assert page.locator(".mgp-curve").first.is_visible()
    assert page.get_by_role("slider").count() == 0, "no control that does nothing"
    assert page.locator(".mgp-step").inner_text() == "training step 100"


def test_print_shows_no_controls(show):
    page = show(film(), color_scheme="dark")
    page.emulate_media(media="print")
    assert not page.get_by_role("button", name="Play").is_visible()
    colour = page.locator(".mgp").evaluate("root => getComputedStyle(root).backgroundColor")
    assert colour == "rgb(255, 255, 255)"


PAGES = {
    "light": ("<script>0</script>", "light", "rgb(255, 255, 255)"),
    "dark": ("", "dark", "rgb(23, 25, 29)"),
    "the book, dark": (
        "<script>document.documentElement.dataset.theme = 'dark'</script>",
        "light",
        "rgb(23, 25, 29)",
    ),
    "the book, light": (
        "<script>document.documentElement.dataset.theme = 'light'</script>",
        "dark",
        "rgb(255, 255, 255)",
    ),
}


@pytest.mark.parametrize("where", PAGES)
def test_axe_finds_no_barrier_in_light_or_dark(show, where):
    head, scheme, paper = PAGES[where]
    page = show(film(), film("Other"), head=head, color_scheme=scheme)
    colour = page.locator(".mgp").first.evaluate("root => getComputedStyle(root).backgroundColor")
    assert colour == paper
    assert barriers(page) == []
    page.get_by_role("button", name="Step back").first.click()
    assert barriers(page) == []


def test_keys_do_not_reach_the_page_around(show):
    page = show(
        film(), head="<script>keys = []; document.addEventListener('keydown', e => keys.push(e.key))</script>"
    )
    page.get_by_role("slider").focus()
    for key in ("ArrowLeft", "Home", "a", "Control+b"):
        page.keyboard.press(key)
    assert page.evaluate("keys").count("ArrowLeft") == 0
    assert page.evaluate("keys") == ["Control", "b"], "only what is meant for the page"


def test_the_page_is_made_of_itself_alone(show, visit):  # noqa: F811
    page = show(film(), film("Other"))
    assert (
        page.evaluate(
            "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
        )
        == 0
    )
    outside = visit("data:text/html,<img src='https://example.org/x.png'>")
    outside.wait_for_load_state()
    assert visit.outside == ["https://example.org/x.png"], "the trap itself works"
    visit.outside.clear()


def test_without_playwright_a_browser_test_is_skipped_here_and_fails_in_ci(monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="playwright is missing: pip install"), browser_or_skip():
        pass
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="In CI the browser tests must run"), browser_or_skip():
        pass

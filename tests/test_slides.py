"""Slides are made from executed lessons; their page works by keys, for all, and without a network."""

import base64
import re

import pytest
from browser import barriers, browser, visit  # noqa: F401  (fixtures)
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from minigrok.course import slides
from minigrok.course.timetable import Plan, Step

DOT = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
    )
).decode()
PLAN = Plan(
    "A small module",
    20,
    (
        Step("01", "guess", 5, predict=True),
        Step("01", "look", 5, ("fig-01-dot",), player=True),
        Step("01", "work", exercise="01-add"),
        Step("", "goodbye", 5),
    ),
)


def figure(name="fig-01-dot", alt='A dot "here".', caption="A dot at $x < 1$, *tiny*."):
    about = {"mystnb": {"image": {"alt": alt}, "figure": {"caption": caption, "name": name}}}
    return new_code_cell("plot();", metadata=about)


def lesson():
    """A lesson as nbclient leaves it: one figure with its picture, one player."""
    picture, player = figure(), new_code_cell("player()")
    picture.outputs = [new_output("display_data", {"image/png": DOT + "\n", "text/plain": "<Figure>"})]
    player.outputs = [new_output("execute_result", {"text/html": '<div class="mgp">a player</div>'})]
    card = "### Exercise 1.1: Add\n\nDifficulty 1 of 5 · 5 minutes · 1 point\n\n**Task.** Add."
    return new_notebook(
        cells=[
            new_markdown_cell(
                "# Lesson 01: Dots\n\n*You will see a dot.*\n\n## You will be able to\n\n- look"
            ),
            new_markdown_cell(
                "## Dots & more\n\n**Where** is it, {cite:t}`knuth1997`?",
                metadata={"minigrok": {"part": "prediction"}},
            ),
            new_markdown_cell("## The dot\n\nHere."),
            picture,
            player,
            new_markdown_cell("So.\n\n## What you saw\n\nFirst.\nSecond.\nThird.\n\n## Exercises"),
            new_markdown_cell(card, metadata={"minigrok": {"part": "card", "exercise": "01-add"}}),
        ]
    )


@pytest.fixture(scope="module")
def deck():
    return slides.deck(PLAN, {"01": lesson()})


@pytest.fixture
def path(deck, tmp_path):
    path = tmp_path / "small.html"
    path.write_text(slides.page(PLAN.title, deck), encoding="utf-8")
    (tmp_path / slides.FORMULAS).write_text("window.formulas = true;", encoding="utf-8")
    return path


def test_a_deck_has_what_the_plan_names_in_its_order(deck):
    assert [slide.title for slide in deck] == [
        "A small module",
        "Lesson 01: Dots",
        "What do you expect?",
        "The dot",
        "Watch it",
        "Exercise 1.1: Add",
        "What you saw",
    ]
    by_title = {slide.title: slide.body for slide in deck}
    assert "You will see a dot." in by_title["Lesson 01: Dots"]
    assert "<strong>Where</strong>" in by_title["What do you expect?"]
    assert "Dots &amp; more" not in by_title["What do you expect?"]
    assert '<div class="mgp">' in by_title["Watch it"]
    assert by_title["What you saw"].count("<li>") == 3


def test_a_figure_keeps_its_text_and_its_caption(deck):
    body = next(slide.body for slide in deck if slide.title == "The dot")
    assert 'alt="A dot &quot;here&quot;."' in body and f'base64,{DOT}"' in body
    assert r'A dot at <span class="math inline">\(x &lt; 1\)</span>, <em>tiny</em>.' in body


def test_citations_are_written_out():
    from minigrok.course.citations import read_references

    known = read_references("@book{knuth1997,\n author = {Knuth, Donald},\n title = {A},\n year = {1997}}")
    (slide,) = [s for s in slides.deck(PLAN, {"01": lesson()}, known) if s.kind == "predict"]
    assert "Knuth" in slide.body and "cite" not in slide.body


def test_the_figure_after_a_prediction_says_what_happened():
    notebook = lesson()
    del notebook.cells[2]
    (slide,) = [s for s in slides.deck(PLAN, {"01": notebook}) if "<figure>" in s.body]
    assert slide.title == "What happened"


def test_a_figure_that_is_not_there_is_named():
    plan = Plan("p", 5, (Step("01", "look", 5, ("fig-01-other",)),))
    with pytest.raises(ValueError, match="Lesson 01: Dots has no figure fig-01-other"):
        slides.deck(plan, {"01": lesson()})


def test_a_figure_without_its_picture_is_named():
    notebook = lesson()
    notebook.cells[3].outputs = []
    with pytest.raises(ValueError, match="fig-01-dot should show one picture, it shows 0"):
        slides.deck(PLAN, {"01": notebook})


def test_formulas_are_loaded_only_where_there_are_some(deck):
    assert f'src="{slides.FORMULAS}"' in slides.page("t", deck)
    assert slides.FORMULAS not in slides.page("t", deck[:2])
    assert slides._formulas().stat().st_size > 1e6


def test_a_lesson_is_run_with_fine_figures_and_without_its_controls(tmp_path):
    cell = figure()
    cell.source = "from pathlib import Path\nimport matplotlib.pyplot as plt\nplt.plot([0, 1]);"
    control = new_code_cell("raise SystemExit('a control was run')", metadata={"tags": ["widget"]})
    here = new_code_cell("print(Path.cwd())")
    done = slides.execute(new_notebook(cells=[cell, control, here]), tmp_path)
    data = base64.b64decode(done.cells[1].outputs[-1].data["image/png"])
    assert int.from_bytes(data[16:20], "big") > 800  # pixels across: twice the usual
    assert done.cells[2].outputs[0].text.strip() == str(tmp_path.resolve())


def test_the_command_refuses_a_module_that_is_not_there(capsys, tmp_path):
    with pytest.raises(SystemExit):
        slides.main([str(tmp_path), "astronomy"])
    assert "no module astronomy; there are geometry, grokking, robustness" in capsys.readouterr().err


# --- in a browser ------------------------------------------------------------------------------------------


def shown(page) -> str:
    visible = page.locator("main > section:visible")
    assert visible.count() == 1
    return visible.locator("h1").inner_text()


def test_keys_lead_through_the_slides(visit, path):  # noqa: F811
    page = visit(path.as_uri())
    titles = [shown(page)]
    for key in ("ArrowRight", " ", "PageDown", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft"):
        page.keyboard.press(key)
        titles.append(shown(page))
    first, last = "A small module", "What you saw"
    assert titles[:5] == [first, "Lesson 01: Dots", "What do you expect?", "The dot", "What do you expect?"]
    assert titles[5:] == [last, last, first, first]
    page.get_by_role("button", name="On").click()
    page.keyboard.press(" ")  # on a button, the button's own
    assert shown(page) == "What do you expect?" and page.url.endswith("#3")
    assert not visit.outside and not visit.errors


def test_a_slide_has_an_address(visit, path):  # noqa: F811
    assert shown(visit(f"{path.as_uri()}#4")) == "The dot"
    assert shown(visit(f"{path.as_uri()}#nonsense")) == "A small module"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_slide_can_be_read_by_all_in_light_and_dark(visit, path, scheme, deck):  # noqa: F811
    page = visit(path.as_uri(), color_scheme=scheme)
    for _ in deck:
        assert barriers(page) == []
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != scheme


@pytest.mark.parametrize("height", [640, 720])
def test_a_tall_player_and_a_tall_figure_fit_the_window(visit, path, height):  # noqa: F811
    text = path.read_text(encoding="utf-8")
    tall = '<div class="mgp"><div style="height: 800px">a player</div></div>'
    text = text.replace('<div class="mgp">a player</div>', tall)
    path.write_text(text.replace("<figcaption>", '<figcaption style="min-height: 150px">'), encoding="utf-8")
    page = visit(path.as_uri())
    page.set_viewport_size({"width": 1280, "height": height})
    page.add_style_tag(content="figure img { height: 60vh }")
    for title in ("The dot", "Watch it"):
        while shown(page) != title:
            page.keyboard.press("ArrowRight")
        assert page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0, title


def test_a_figure_as_wide_as_the_window_leaves_room_for_a_long_caption(visit, path):  # noqa: F811
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("<figcaption>", '<figcaption style="min-height: 150px">'), encoding="utf-8")
    page = visit(f"{path.as_uri()}#4")
    page.set_viewport_size({"width": 1280, "height": 720})
    page.add_style_tag(content="figure img { width: 3000px; height: auto; aspect-ratio: 5 / 2 }")
    page.evaluate("fit()")
    assert shown(page) == "The dot" and page.locator("figure img").bounding_box()["height"] > 300
    assert page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0


def test_without_scripts_all_slides_stand_below_each_other(visit, path, deck):  # noqa: F811
    page = visit(path.as_uri(), java_script_enabled=False)
    assert page.locator("main > section:visible").count() == len(deck)
    assert page.locator("nav:visible").count() == 0


def test_no_page_names_another_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)

"""The published book, built strictly from the lessons and then read in a real browser without a network.

The build runs every lesson, so it happens once for the whole module; in `make test`, where nbval has just run
them, it takes what they showed from there. What can be checked without a browser is checked without one.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import kept
import nbformat
import pytest
from browser import barriers_but_colour, barriers_of_colour, browser, visit  # noqa: F401

from minigrok.course import editions

ROOT = Path(__file__).resolve().parents[1]
DESKTOP, PHONE = {"width": 1300, "height": 900}, {"width": 390, "height": 844}
A4 = {"width": 794, "height": 1123}  # pixels at 96 to the inch
ADDRESS = "https://example.org/course"


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """The folder of HTML that `make book` makes; a warning of the build is an error."""
    folder = tmp_path_factory.mktemp("book")
    editions.book(folder / "source", root=ROOT)
    if kept.FOLDER in os.environ:
        kept.take_outputs(folder / "source")
    command = shutil.which("jupyter-book", path=os.path.dirname(sys.executable))
    assert command, "the book is built by jupyter-book: pip install 'minigrok[book]'"
    options = ["--path-output", folder / "out", "--all", "-W", "-n", "--keep-going"]
    command = [command, "build", folder / "source", *options]
    env = {**os.environ, "MINIGROK_SITE": ADDRESS}
    env.pop("MPLBACKEND", None)  # figures go inline
    run = subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8")
    lines = (run.stdout + run.stderr).splitlines()
    trouble = [line for line in lines if re.search("WARNING|ERROR|Error", line)]
    assert run.returncode == 0, "\n".join(trouble[-30:]) or run.stderr[-3000:]
    return folder / "out" / "_build" / "html"


@pytest.fixture(scope="module")
def site(book):
    """The address at which the book is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def pages(book: Path) -> list[Path]:
    return sorted(p for p in book.rglob("*.html") if "_static" not in p.parts and p != book / "index.html")


def lessons(book: Path) -> list[Path]:
    return sorted((book / "lessons").glob("*.html"))


class Page(HTMLParser):
    """What a page of HTML holds, as far as the tests ask: ids, links, what it loads, pictures, its head."""

    LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links, self.loads, self.pictures, self.head = set(), [], [], [], {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img":
            self.pictures.append(given)
        if tag == "html":
            self.head["lang"] = given.get("lang")
        if tag == "meta" and given.get("name"):
            self.head[given["name"]] = given.get("content")
        if tag == "link" and given.get("rel") not in ("next", "prev", "index", "search", "canonical"):
            self.loads.append(given.get("href"))
        if source := given.get(self.LOADS.get(tag, "")):
            self.loads.append(source)


# --- without a browser -------------------------------------------------------------------------------------


def test_every_lesson_and_page_is_in_the_book(book):
    sources = [*(ROOT / "lessons").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
    assert {p.stem for p in sources} <= {p.stem for p in pages(book)}


def test_no_cell_of_the_book_uses_a_name_that_only_a_left_out_cell_sets(tmp_path):
    """The book has no controls and nothing for teachers: its other cells run without them."""
    editions.book(tmp_path / "book", root=ROOT)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", tmp_path / "book"]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert run.returncode == 0, run.stdout


def test_no_page_and_no_style_sheet_loads_anything_from_elsewhere(book):
    outside = [(p.name, url) for p in pages(book) for url in Page(p).loads if urlsplit(url).netloc]
    assert outside == []
    for sheet in book.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", text), sheet.name


def test_every_internal_link_leads_to_something(book):
    parsed = {p.resolve(): Page(p) for p in pages(book)}
    broken = []
    for path, page in parsed.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = parsed.get(target)
            if not target.exists() or (parts.fragment and known and unquote(parts.fragment) not in known.ids):
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_every_picture_has_words_and_no_words_are_a_file_name(book):
    for path in pages(book):
        for picture in Page(path).pictures:
            words = picture.get("alt") or ""
            where = f"{path.name}: {picture.get('src', '')[:80]} says {words!r}"
            assert words and not re.search(r"/|<|\.png", words), where


def test_every_figure_of_a_lesson_is_in_the_book_with_its_caption(book):
    for path in lessons(book):
        notebook = nbformat.read(ROOT / "lessons" / f"{path.stem}.ipynb", as_version=4)
        figures = [cell.metadata.mystnb.figure for cell in notebook.cells if "mystnb" in cell.metadata]
        page, text = Page(path), path.read_text(encoding="utf-8")
        assert {figure.name for figure in figures} <= page.ids
        assert text.count("<figcaption>") == len(figures)


def test_every_page_says_its_language_and_what_it_is_about(book):
    descriptions = {p.name: Page(p).head for p in pages(book) if p.name != "search.html"}
    assert {head["lang"] for head in descriptions.values()} == {"en-GB"}
    for name, head in descriptions.items():
        assert len(head.get("description") or "") > 20, f"{name} has no description"


def test_the_map_of_the_site_has_every_page(book):
    listed = re.findall("<loc>(.*?)</loc>", (book / "sitemap.xml").read_text(encoding="utf-8"))
    names = [p.relative_to(book).as_posix() for p in pages(book) if p.name != "search.html"]
    assert sorted(listed) == sorted(f"{ADDRESS}/{name}" for name in names)


def test_every_page_says_once_where_to_mend_it(book):
    for path in pages(book):
        count = path.read_text(encoding="utf-8").count('<p class="mend">')
        assert count == (path.name != "search.html"), path.name


def test_the_site_is_light(book):
    assert sum(path.stat().st_size for path in book.rglob("*") if path.is_file()) < 60e6


def test_what_a_lesson_hands_out_is_its_workbook(book):
    for path in lessons(book):
        (link,) = [link for link in Page(path).links if link.endswith(".ipynb") and not urlsplit(link).netloc]
        assert path.stem == Path(link).stem
        notebook = nbformat.read(path.parent / link, as_version=4)
        answers = [cell for cell in notebook.cells if editions.part(cell) == "answer"]
        assert answers and all(editions.CODE_STUB in cell.source for cell in answers)
        assert "BEGIN SOLUTION" not in str(notebook)


def test_the_book_holds_no_other_notebook(book):
    assert {p.parent.parent.name for p in book.rglob("*.ipynb")} == {"_downloads"}


def test_a_lesson_opens_in_colab_from_the_workbook_branch(book):
    for path in lessons(book):
        (link,) = [link for link in Page(path).links if "colab" in link]
        assert link.endswith(f"/minigrok/minigrok/blob/workbook/{path.stem}.ipynb")


def test_solutions_are_closed(book):
    for path in lessons(book):
        text = path.read_text(encoding="utf-8")
        assert '<details class="solution">' in text
        assert not re.search(r"<details[^>]*\sopen[\s>]", text), f"{path.name} has an open solution or hint"


def test_the_status_page_has_the_time_of_every_lesson(book):
    text = (book / "book" / "status.html").read_text(encoding="utf-8")
    for path in lessons(book):
        assert f"lessons/{path.stem}" in text
    assert "failed" not in text and text.count("complete") >= len(lessons(book))
    assert re.search(r"torch\s+\d+\.\d+", text)


def test_the_glossary_links_back_to_lessons_and_the_index_has_them(book):
    emphasised = {"region migration": "02", "cross-polytope": "03"}
    mentioned = {"decision boundary": "02", "Wendel.s theorem": "05"}  # the apostrophe may be either
    for name in ("glossary", "general_index"):
        text = (book / "book" / f"{name}.html").read_text(encoding="utf-8")
        for term, lesson in (emphasised | mentioned).items():
            entry = re.search(rf"<(dt|strong)[^>]*>\s*{term}.*?</(dd|li)>", text, re.DOTALL)[0]
            assert re.search(rf'href="\.\./lessons/{lesson}_\w+\.html#term-here-\d+"', entry), (name, term)


# --- in a browser ------------------------------------------------------------------------------------------


def settled(page) -> None:
    """Wait until MathJax, where a page has it, has drawn all formulas and the page's own script has run."""
    page.wait_for_load_state("load")
    page.evaluate("() => window.MathJax?.startup?.promise?.then(() => null)")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def undrawn(page) -> int:
    """How many formulas are still text, or are drawn as an error."""
    return page.evaluate(
        """() => document.querySelectorAll('.math').length
            - document.querySelectorAll('.math > mjx-container > svg').length
            + document.querySelectorAll('[data-mml-node=merror], mjx-merror').length"""
    )


def thin(page) -> None:
    """Leave one code token of each kind, and no parts of formulas: axe takes ten times as long with all.

    Colours change at once, so that none is judged half-way from one theme to the other.
    """
    page.add_style_tag(content="* { transition: none !important; }")
    page.evaluate(
        """() => {
            const seen = new Set();
            for (const token of document.querySelectorAll("pre span")) {
                const kind = token.className + " in " + token.closest("div").parentElement.className;
                if (seen.has(kind)) token.replaceWith(...token.childNodes);
                else seen.add(kind);
            }
            const drawn = "mjx-container > svg, mjx-assistive-mml > math";
            document.querySelectorAll(drawn).forEach((formula) => formula.replaceChildren());
        }"""
    )


def found_by_axe(page) -> list[str]:
    """All that axe finds on a desktop and on a phone, in light and in dark."""
    thin(page)
    found = []
    for viewport, scheme in [(PHONE, "light"), (PHONE, "dark"), (DESKTOP, "dark"), (DESKTOP, "light")]:
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=scheme)
        page.locator(f"html[data-theme={scheme}]").wait_for()
        lines = barriers_of_colour(page)
        if scheme == "light":  # the other rules see nothing else in the dark
            lines += barriers_but_colour(page)
        found += [f"{viewport['width']} pixels, {scheme}: {line}" for line in lines]
    return found


def cut_on_paper(page) -> list[str]:
    """What a printed page hides or cuts off."""
    page.set_viewport_size(A4)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    found = page.evaluate(
        """() => [...document.querySelectorAll(".bd-article :is(pre, img, table, .mgp, svg)")]
            .filter((e) => e.getBoundingClientRect().right > innerWidth + 1
                           || (e.matches("pre") && e.scrollWidth > e.clientWidth + 1))
            .map((e) => "cut off on paper: " + e.outerHTML.slice(0, 80))"""
    )
    if shut := page.locator("details:not([open])").count():
        found.append(f"{shut} closed on paper")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    if left := page.locator("details[open]").count():
        found.append(f"{left} still open after printing")
    page.emulate_media(media="screen")
    return found


def hidden_code(page) -> list[str]:
    """Code of which a reader at a desk sees no more than the beginning, or which is set too small there."""
    page.set_viewport_size(DESKTOP)
    return page.evaluate(
        """() => [...document.querySelectorAll(".bd-article div:is([class*=highlight-], .cell_input) pre")]
            .filter((e) => !e.closest(".cell_output") && (e.scrollWidth > e.clientWidth
                           || parseFloat(getComputedStyle(e).fontSize) < 12.5))
            .map((e) => "code too wide or too small on a desktop: " + e.textContent.trim().slice(0, 60))"""
    )


def test_every_page_is_whole_quiet_printable_and_open_to_everybody(book, site, visit):  # noqa: F811
    page, trouble = visit("about:blank"), []
    for path in pages(book):
        page.set_viewport_size(DESKTOP)
        page.goto(f"{site}/{path.relative_to(book).as_posix()}")
        settled(page)
        found = cut_on_paper(page) if path in lessons(book) else []
        page.evaluate("document.querySelectorAll('details').forEach((box) => { box.open = true; })")
        found += [f"{undrawn(page)} formulas are not drawn"] if undrawn(page) else []
        found += hidden_code(page)
        page.set_viewport_size(PHONE)
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found += [f"{wider} pixels wider than a phone"] if wider > 0 else []
        trouble += [f"{path.stem}: {line}" for line in found + found_by_axe(page)]
    assert trouble == []
    assert visit.outside == [] and visit.errors == []


def test_a_barrier_of_any_setting_is_found(site, visit):  # noqa: F811
    page = visit(f"{site}/book/errata.html", viewport=DESKTOP)
    settled(page)
    page.evaluate(
        """() => document.querySelector("article").insertAdjacentHTML("beforeend", `
            <style>
                [data-theme=dark] #in-the-dark { color: #444; }
                [data-theme=light] #its-ground { background: #666; }
                @media (max-width: 500px) { #narrow { color: #ddd !important; } }
                @media (min-width: 500px) { #nameless { display: none; } }
            </style>
            <p>Plain, <b id="in-the-dark">faint</b>.</p><div id="its-ground"><p id="on-grey">Faint.</p></div>
            <p id="narrow">Faint.</p><button id="nameless"></button>`)"""
    )
    assert set(found_by_axe(page)) == {
        *(
            "390 pixels, dark: color-contrast: #in-the-dark",
            "1300 pixels, dark: color-contrast: #in-the-dark",
        ),
        *("390 pixels, light: color-contrast: #on-grey", "1300 pixels, light: color-contrast: #on-grey"),
        "390 pixels, light: color-contrast: #narrow",
        "390 pixels, light: button-name: #nameless",
    }


@pytest.mark.parametrize("where", ["http", "file"])
def test_formulas_are_drawn(book, site, visit, where):  # noqa: F811
    root = site if where == "http" else book.as_uri()
    page = visit(f"{root}/book/notation.html")
    settled(page)
    assert page.locator(".math").count() > 40
    assert undrawn(page) == 0
    assert visit.outside == [] and visit.errors == []


@pytest.mark.parametrize("where", ["http", "file"])
def test_search_finds_a_word_from_the_keyboard(book, site, visit, where):  # noqa: F811
    root = site if where == "http" else book.as_uri()
    page = visit(f"{root}/book/intro.html", viewport=DESKTOP)
    page.keyboard.press("Control+k")
    page.keyboard.type("octahedron")
    page.keyboard.press("Enter")
    page.locator("#search-results li a", has_text="Glossary").first.wait_for()
    page.get_by_text("Search finished").wait_for()
    assert visit.outside == [] and visit.errors == []


def test_the_search_box_goes_when_the_focus_leaves_it(site, visit):  # noqa: F811
    page = visit(f"{site}/book/errata.html", viewport=DESKTOP)
    settled(page)
    page.keyboard.press("Control+k")
    box = page.locator(".search-button__wrapper")
    assert "show" in box.get_attribute("class").split()
    glass, words = box.locator(".fa-magnifying-glass"), box.locator("input")
    assert glass.bounding_box()["x"] + glass.bounding_box()["width"] <= words.bounding_box()["x"]
    page.keyboard.press("Tab")
    assert "show" not in box.get_attribute("class").split()


def test_the_first_address_leads_to_the_first_page(book, visit):  # noqa: F811
    page = visit(f"{book.as_uri()}/index.html")
    page.wait_for_url("**/book/intro.html")
    page.get_by_role("heading", level=1).wait_for()


def test_the_focus_can_be_seen(site, visit):  # noqa: F811
    for scheme in ("light", "dark"):
        page = visit(f"{site}/book/notation.html", viewport=DESKTOP, color_scheme=scheme)
        page.locator(".bd-article a[href]").first.focus()
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outline")
        assert re.search(r"solid [3-9]px", outline), outline


def test_figures_keep_a_white_panel_on_a_dark_page(book, site, visit):  # noqa: F811
    page = visit(f"{site}/book/intro.html", viewport=DESKTOP, color_scheme="dark")
    figure = page.locator(".bd-article .cell_output img").first
    paper = figure.evaluate("image => getComputedStyle(image).backgroundColor")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)" and ground != paper


def test_solutions_and_moving_figures_answer_to_keys_and_mouse(book, site, visit):  # noqa: F811
    page, moved = visit("about:blank", viewport=DESKTOP), 0
    page.route("**/tex-svg.js*", lambda route: route.fulfill(body=""))  # no formula is looked at here
    for path in lessons(book):
        page.goto(f"{site}/lessons/{path.name}")
        solution_opens_and_closes(page)
        for player in page.locator(".mgp").all():
            figure_moves(page, player, path.stem)
            moved += 1
    assert moved, "at least one lesson should hold a figure with a scrub bar"
    assert visit.outside == [] and visit.errors == []


def solution_opens_and_closes(page) -> None:
    box = page.locator("details.solution").first
    inside = box.locator("> :not(summary)").first
    assert not inside.is_visible()
    box.locator("summary").focus()
    page.keyboard.press("Enter")
    inside.wait_for(state="visible")
    page.keyboard.press("Space")
    inside.wait_for(state="hidden")


def figure_moves(page, player, where: str) -> None:
    bar, picture = player.get_by_role("slider"), player.locator(".mgp-picture img").first
    bar.focus()
    page.keyboard.press("Home")
    first = picture.get_attribute("src")
    page.keyboard.press("End")
    assert picture.get_attribute("src") != first, f"{where}: the End key shows no other picture"
    bar.click(position={"x": 3, "y": bar.bounding_box()["height"] / 2})
    assert picture.get_attribute("src") == first, f"{where}: a click at the bar's left end"

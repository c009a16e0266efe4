"""The book as a site: a small one, built once with an address, of the pages that are quick to build.

What holds for all pages of the whole book is in tests/test_book_browser.py.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import course_fixture
import numpy as np
import pytest
import yaml
from browser import browser, visit  # noqa: F401
from docutils import nodes
from nbformat.v4 import new_code_cell
from PIL import Image

from minigrok.course import editions

ROOT = Path(__file__).resolve().parents[1]
SITE = "https://example.org/course/"
LESSON = f"lessons/{course_fixture.NAME}"
PAGES = [
    "book/installation",
    "book/errata",
    "book/status",
    "book/glossary",
    "book/reference_networks",
    "book/changes",
]
LONG = "numbers = [" + ", ".join(str(10**9 + n) for n in range(12)) + "]"
WORDS = "✓ " + "your sheet is folded along three lines, and each of them goes through the origin. " * 2
INTRO = "A sentence of eight words & a sign. " * 8 + "\n\nOf $x^2$ it is 5 %, and `5 %` in code.\n"
WIDE = """\
%config InlineBackend.figure_formats = ["retina"]
from matplotlib import pyplot as plt
figure, axes = plt.subplots(1, 2, figsize=(10, 3))
axes[0].plot([1, 2])
axes[1].plot([2, 1]);"""


@pytest.fixture(scope="module")
def extension():
    """The book's local extension, as a module."""
    path = ROOT / "book" / "ext" / "minigrok_site.py"
    spec = importlib.util.spec_from_file_location("minigrok_site", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """The HTML of a book of one lesson, with this book's settings, extensions and an address."""
    folder = tmp_path_factory.mktemp("site")
    lesson = course_fixture.lesson()
    lesson.cells[3].source += f"\n{LONG}\nprint('wide', numbers)"
    lesson.cells[4].source = f"print({WORDS!r})"
    lesson.cells[4].metadata.pop("mystnb")
    lesson.cells.insert(
        5, new_code_cell(WIDE, id="wide", metadata={"mystnb": {"image": {"alt": "Two lines."}}})
    )
    root = course_fixture.course(folder / "clone", lesson)
    for name in ("ext", "static", "root"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name)
    for page in PAGES:
        shutil.copy(ROOT / f"{page}.md", root / f"{page}.md")
    for name in ("_config.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, root)
    (root / "book" / "intro.md").write_text(f"# Intro\n\n{INTRO}")
    chapters = [{"file": name} for name in (LESSON, *PAGES)]
    toc = {"format": "jb-book", "root": "book/intro", "parts": [{"caption": "One", "chapters": chapters}]}
    (root / "_toc.yml").write_text(json.dumps(toc), encoding="utf-8")  # JSON is YAML
    return built(editions.book(folder / "source", root=root), folder / "out", SITE)


def built(source: Path, out: Path, site: str) -> Path:
    command = [shutil.which("jupyter-book", path=os.path.dirname(sys.executable)), "build", source]
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"} | {
        "MINIGROK_SITE": site
    }
    run = subprocess.run(
        [*command, "--path-output", out], env=env, capture_output=True, text=True, encoding="utf-8"
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return out / "_build" / "html"


def text_of(book: Path, page: str) -> str:
    return (book / f"{page}.html").read_text(encoding="utf-8")


def meta(text: str) -> dict[str, str]:
    found = re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)"', text)
    found = [
        (name, content) for name, content in found if name != "viewport"
    ]  # the theme says it three times
    assert len({name for name, _ in found}) == len(found), "said twice"
    return {name: unescape(content) for name, content in found}


# --- the address -------------------------------------------------------------------------------------------


def test_the_sitemap_has_every_page_once_and_nothing_else(book):
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    listed = [loc.text for loc in ElementTree.parse(book / "sitemap.xml").iter(f"{space}loc")]
    assert sorted(listed) == sorted(f"{SITE}{page}.html" for page in ["book/intro", LESSON, *PAGES])
    assert all((book / url.removeprefix(SITE)).exists() for url in listed)


def test_every_page_says_its_own_address(book):
    for page in ["book/intro", LESSON, *PAGES]:
        assert f'<link rel="canonical" href="{SITE}{page}.html"' in text_of(book, page)


@pytest.mark.parametrize(
    "given", ["example.org/book", "ftp://example.org", "https://example.org/?a=1", "/book"]
)
def test_an_address_that_is_none_is_told(extension, given):
    with pytest.raises(
        ValueError, match=f"MINIGROK_SITE should be the address.*got {re.escape(repr(given))}"
    ):
        extension.checked_address(given)


@pytest.mark.parametrize("given", ["https://example.org/book", "https://example.org/book/", "http://a.b/c//"])
def test_an_address_ends_with_one_stroke(extension, given):
    assert re.fullmatch(r"https?://[\w./]+\w/", extension.checked_address(given))


def test_without_an_address_nothing_is_said_that_needs_one(extension, tmp_path):
    app = SimpleNamespace(config=SimpleNamespace(html_baseurl="", html_title="minigrok"), outdir=tmp_path)
    extension.write_sitemap(app, None)
    extension.put_card(app, None)
    assert list(tmp_path.iterdir()) == []
    assert set(extension.card(app, "page", "title", "words")) == {"type", "site_name", "title", "description"}


def test_a_build_that_failed_writes_nothing_more(extension, tmp_path):
    app = SimpleNamespace(config=SimpleNamespace(html_baseurl=SITE), outdir=tmp_path)
    for finish in (extension.write_sitemap, extension.put_card, extension.trim):
        finish(app, RuntimeError("a lesson failed"))
    assert list(tmp_path.iterdir()) == []


def test_the_sitemap_is_xml_whatever_a_page_is_called(extension):
    text = extension.sitemap(SITE, ["a b.html", "c&d.html", "ä.html"])
    assert [
        node.text for node in ElementTree.fromstring(text).iter() if node.text and "http" in node.text
    ] == [
        f"{SITE}a%20b.html",
        f"{SITE}c%26d.html",
        f"{SITE}%C3%A4.html",
    ]


# --- what a link to a page shows ---------------------------------------------------------------------------


def test_every_page_has_a_card(book):
    titles = set()
    for page in ["book/intro", LESSON, *PAGES]:
        said = meta(text_of(book, page))
        assert said["og:description"] == said["description"] and 20 < len(said["description"]) <= 202
        assert said["og:url"] == f"{SITE}{page}.html" and said["og:site_name"] == "minigrok"
        assert said["twitter:card"] == "summary_large_image"
        titles.add(said["og:title"])
    assert len(titles) == 2 + len(PAGES) and "Errata" in titles


def test_the_picture_of_the_card_is_there_in_the_size_that_is_said(book, extension):
    said = meta(text_of(book, "book/intro"))
    path = book / said["og:image"].removeprefix(SITE)
    with Image.open(path) as picture:
        assert picture.size == (int(said["og:image:width"]), int(said["og:image:height"])) == (1200, 630)
        pixels = np.asarray(picture.convert("L"))
    assert path.stat().st_size < 300_000
    assert 20 < len(said["og:image:alt"]) < 420
    for half in (pixels[:, :600], pixels[:, 600:]):  # words on the left, the network on the right
        assert 0.02 < (half < 200).mean() < 0.9
    assert pixels[:, :30].min() == 255, "the words keep away from the edge"


@pytest.mark.parametrize("words, said", [(3, "one one one"), (90, "one " * 49 + "one …")])
def test_a_description_ends_with_a_whole_word(extension, words, said):
    document = nodes.section("", nodes.paragraph("", "one " * words))
    assert extension.beginning(document) == said.strip()


def test_a_page_that_describes_itself_is_not_described_twice(extension):
    own = '<meta content="Its own words." name="description" xml:lang="en" />\n'
    app = SimpleNamespace(
        config=SimpleNamespace(html_baseurl="", html_title="minigrok"),
        env=SimpleNamespace(titles={"page": nodes.title("", "Page")}),
    )
    context = {"metatags": own}
    extension.describe(app, "page", "page.html", context, nodes.section("", nodes.paragraph("", "Others.")))
    assert context["metatags"].count('name="description"') == 1
    assert 'property="og:description" content="Its own words."' in context["metatags"]


# --- run it, mend it ---------------------------------------------------------------------------------------


def test_a_lesson_can_be_taken_home_and_run_elsewhere(book):
    box = re.search(r'<p class="workbook">.*?</p>', text_of(book, LESSON), re.DOTALL)[0]
    links = re.findall(r'href="([^"]+)"', box)
    assert [link.split("/")[2] for link in links[1:]] == ["colab.research.google.com", "mybinder.org"]
    assert all(link.endswith(f"{course_fixture.NAME}.ipynb") for link in links)
    assert all("minigrok/minigrok" in link and "workbook" in link for link in links[1:])


def test_every_page_leads_to_what_it_is_made_from(book):
    for page, ending in [("book/intro", ".md"), ("book/errata", ".md"), (LESSON, ".ipynb")]:
        (line,) = re.findall(r'<p class="mend">.*?</p>', text_of(book, page))
        edit, report = map(unescape, re.findall(r'href="([^"]+)"', line))
        assert edit == f"{editions.REPOSITORY}/edit/main/{page}{ending}"
        assert report.startswith(f"{editions.REPOSITORY}/issues/new?title=") and page.split("/")[1] in report
    assert "/edit/main/CHANGELOG.md" in text_of(book, "book/changes")
    assert 'class="mend"' not in text_of(book, "search")


def test_a_page_of_the_reference_leads_to_the_code(book):
    (line,) = re.findall(r'<p class="mend">.*?</p>', text_of(book, "book/reference_networks"))
    assert f"{editions.REPOSITORY}/tree/main/minigrok/networks.py" in line


def test_what_pages_are_made_from_is_in_the_repository(extension):
    for path in [*(ROOT / "book").glob("*.md"), *(ROOT / "lessons").glob("*.ipynb")]:
        page = path.relative_to(ROOT).with_suffix("").as_posix()
        links = re.findall(r'href="([^"]+)"', extension.mending(page, path))
        assert links
        for link in links:
            assert (ROOT / re.sub(r"^.*?/(edit|tree)/main/", "", link)).exists(), link


# --- errata, status, installation --------------------------------------------------------------------------

CORRECTION = re.compile(r"(?m)^\| *(\d{4}-\d\d-\d\d) *\| *([^|]+?) *\| *[^|]+\| *[^|]+\|$")


def corrections(text: str) -> list[tuple[str, str]]:
    """The date and the place of each row of the errata's table."""
    return CORRECTION.findall(text)


def test_corrections_are_dated_newest_first_and_say_where():
    text = (ROOT / "book" / "errata.md").read_text(encoding="utf-8")
    rows = corrections(text)
    assert rows == sorted(rows, key=lambda row: row[0], reverse=True)
    assert bool(rows) != ("None so far" in text)
    for _, place in rows:
        (link,) = re.findall(r"\]\(([^)#]+)", place)
        assert (ROOT / "book" / link).exists(), link


def test_a_correction_is_recognised():
    row = "| 2027-01-31 | [01](../lessons/01_folding_the_plane.ipynb) | seven pieces | six pieces |"
    assert corrections(row) == [("2027-01-31", "[01](../lessons/01_folding_the_plane.ipynb)")]


def test_the_status_page_has_a_time_for_the_lesson_and_their_sum(book):
    table = re.search(
        r'<table class="[^"]*running-times.*?</table>', text_of(book, "book/status"), re.DOTALL
    )[0]
    rows = [
        re.findall(r"(?s)<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"(?s)<tr.*?</tr>", table)
    ]
    words = [[re.sub("<[^>]+>", "", entry).strip() for entry in row] for row in rows]
    assert words[0] == ["lesson", "seconds", "result"]
    assert words[1][0] == "A fixture" and words[1][2] == "complete" and "href" in rows[1][0]
    assert len(words) == 3 and words[2][0] == "together"
    assert float(words[1][1]) == float(words[2][1]) > 0


def test_binder_installs_the_course_and_no_more():
    text = (ROOT / "binder" / "environment.yml").read_text(encoding="utf-8")
    wanted = yaml.safe_load(text)
    *conda, pip = wanted["dependencies"]
    assert wanted["channels"] == ["conda-forge"]
    assert re.fullmatch(r"python=3\.\d\d", conda[0]), "of a range Binder makes a Python that is too old"
    assert pip == {"pip": [f"minigrok[lab] @ git+{editions.REPOSITORY}"]}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (torch,) = re.findall(r'"torch(>=[\d.]+)"', project)
    assert f"pytorch-cpu {torch}" in conda and "git" in conda


def test_what_is_published_knows_its_address_and_what_binder_installs(extension):
    jobs = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8"))["jobs"]
    (make,) = [step for step in jobs["book"]["steps"] if "make book" in step.get("run", "")]
    assert extension.ADDRESS in make["env"]
    assert any("cp -r ../binder ." in step.get("run", "") for step in jobs["workbook"]["steps"])


def test_messages_on_the_page_of_systems_are_those_of_the_library():
    page = (ROOT / "book" / "installation.md").read_text(encoding="utf-8")
    (message,) = re.findall(r"```text\n(.*?)\n```", page)
    source = (ROOT / "minigrok" / "attacks" / "_checks.py").read_text(encoding="utf-8")
    assert message.startswith("the model is torch.float32 on cuda:0, and x is")
    assert (
        'the model is {weight.dtype} on {weight.device}, and x is {x.dtype} on {x.device}: convert "'
        in source
    )


# --- how outputs look --------------------------------------------------------------------------------------


def test_words_and_code_break_on_a_desktop_and_code_scrolls_from_the_keyboard_on_a_phone(book, visit):  # noqa: F811
    for width in (1300, 390):
        page = visit(f"{book.as_uri()}/{LESSON}.html", viewport={"width": width, "height": 900})
        said = page.locator(".said pre", has_text="folded along three lines")
        wide = page.locator("pre", has_text="numbers = [").first
        assert said.evaluate("box => box.scrollWidth <= box.clientWidth")
        assert said.evaluate("box => box.clientHeight > 2 * parseFloat(getComputedStyle(box).lineHeight)")
        assert wide.evaluate("box => box.scrollWidth > box.clientWidth") == (width == 390)
    assert wide.evaluate("box => box.tabIndex === 0")
    # headless browsers hide scroll bars, so it is the style that can be looked at
    bar = wide.evaluate("box => getComputedStyle(box, '::-webkit-scrollbar').height")
    assert float(bar.removesuffix("px")) >= 8, "its scroll bar is to be seen"
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("box => box.scrollLeft > 0", arg=wide.element_handle())
    assert visit.outside == [] and visit.errors == []


def test_a_wide_figure_keeps_its_letters_legible_on_a_phone(book, visit):  # noqa: F811
    page = visit(f"{book.as_uri()}/{LESSON}.html", viewport={"width": 390, "height": 844})
    figure = page.get_by_alt_text("Two lines.")
    assert 450 < figure.evaluate("image => image.getBoundingClientRect().width") < 600
    assert 0 <= page.evaluate("document.documentElement.clientWidth - document.documentElement.scrollWidth")
    assert figure.evaluate("image => image.closest('.cell_output').tabIndex === 0"), (
        "it scrolls from the keyboard"
    )
    page.set_viewport_size({"width": 1300, "height": 900})
    assert figure.evaluate(
        "image => image.getBoundingClientRect().right < image.closest('article').clientWidth + 400"
    )
    assert figure.evaluate("image => image.closest('.cell_output').tabIndex === -1"), "nothing to scroll here"


def test_a_number_keeps_its_percent_sign(book):
    text = text_of(book, "book/intro")
    assert (
        "it is 5\N{NO-BREAK SPACE}%, and" in text
        and '<span class="pre">5</span> <span class="pre">%</span>' in text
    )


def test_on_paper_there_is_nothing_to_click_and_no_formula_is_bold(book, visit):  # noqa: F811
    page = visit(f"{book.as_uri()}/book/intro.html")
    stroke = page.locator("mjx-container use").first
    stroke.wait_for(state="attached")
    page.emulate_media(media="print")
    assert stroke.evaluate("glyph => getComputedStyle(glyph).stroke") == "none"
    for part in (".mend", ".bd-header-article", ".prev-next-footer", ".bd-sidebar-primary"):
        assert not page.locator(part).first.is_visible(), part
    assert page.get_by_text("A sentence of eight words").first.is_visible()


def test_the_book_carries_no_dead_weight(book):
    held = {path.relative_to(book).as_posix() for path in book.rglob("*") if path.is_file()}
    assert not [
        name
        for name in held
        if name.endswith((".map", ".ttf", ".po", ".mo")) or "fontawesome/6.5.2/js" in name
    ]
    assert any(name.endswith("fa-solid-900.woff2") for name in held)
    for page in ["book/intro", LESSON, "search"]:
        loads = re.findall(r'(?:src|href)="([^"#?]+)', text_of(book, page))
        local = [link for link in loads if not re.match(r"https?:|mailto:", link)]
        assert all((book / page).parent.joinpath(link).exists() for link in local)


def test_icons_are_drawn_without_the_script(book, visit):  # noqa: F811
    page = visit(f"{book.as_uri()}/{LESSON}.html", viewport={"width": 1300, "height": 900})
    icon = page.locator(".search-button-field i, .theme-switch-button i").first
    page.evaluate("document.fonts.ready.then(() => null)")
    assert page.evaluate(
        "[...document.fonts].some(f => f.family.includes('Awesome') && f.status === 'loaded')"
    )
    assert "Awesome" in icon.evaluate("i => getComputedStyle(i, '::before').fontFamily")

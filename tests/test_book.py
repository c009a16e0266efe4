"""The book's sources hold together. Nothing is built here; tests/test_book_browser.py does that."""

import importlib.util
import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from pybtex.database import parse_file

import tasks
from minigrok import regions
from minigrok.course import plans
from minigrok.course.editions import _parser
from minigrok.course.timetable import read_lessons

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "book").glob("*.md"))
LESSONS = sorted((ROOT / "lessons").glob("*.ipynb"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
SPHINX = CONFIG["sphinx"]["config"]


@pytest.fixture(scope="module")
def extension():
    """The book's local Sphinx extension, as a module."""
    spec = importlib.util.spec_from_file_location("minigrok_book", ROOT / "book" / "ext" / "minigrok_book.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toc() -> list[str]:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *(chapter["file"] for chapter in chapters)]


def text_of(path: Path) -> str:
    """What a person wrote on a page: a Markdown file, or a notebook's Markdown cells."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def roles(name: str) -> set[tuple[str, str]]:
    """Every (page, target) of a role such as {term}`target` or {term}`words <target>`."""
    found = set()
    for path in PAGES + LESSONS:
        for content in re.findall(rf"\{{{name}\}}`([^`]+)`", text_of(path)):
            explicit = re.search(r"<(.+)>$", content)
            found |= {(path.name, (explicit[1] if explicit else content).strip())}
    return found


# --- contents ----------------------------------------------------------------------------------------------


def test_the_contents_list_holds_every_lesson_and_every_page_once():
    files = [path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES + LESSONS]
    assert sorted(toc()) == sorted(files)


def test_the_contents_list_holds_the_lessons_in_order():
    lessons = [name for name in toc() if name.startswith("lessons/")]
    assert lessons == sorted(lessons)


def test_titles_in_the_contents_list_are_the_lessons_titles():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [c for part in contents["parts"] for c in part["chapters"] if "title" in c]
    for chapter in chapters:
        notebook = nbformat.read(ROOT / f"{chapter['file']}.ipynb", as_version=4)
        number, title = re.match(r"# Lesson (\d\d): (.+)", notebook.cells[0].source).groups()
        assert chapter["title"] == f"{number} · {title}"


def test_the_first_page_maps_exactly_the_lessons_there_are():
    linked = re.findall(r"\]\(\.\./(lessons/\w+)\.ipynb\)", text_of(ROOT / "book" / "intro.md"))
    assert set(linked) == {name for name in toc() if name.startswith("lessons/")}


def test_the_first_page_says_how_long_lessons_take_and_what_they_run_on():
    text, lessons = text_of(ROOT / "book" / "intro.md"), read_lessons()
    rows = re.findall(r"(?m)^\| (\d\d) \|.*\| (\d+) \| (\d+) \|$", text)
    assert rows == [(x.number, str(x.read), str(x.work)) for x in lessons.values()]
    assert "runs on a laptop's CPU, in a minute or less and with less than 1 GB" in " ".join(text.split())
    assert {x.device for x in lessons.values()} == {"cpu"}
    assert all(x.run <= 1 and x.memory < 1 for x in lessons.values())


def test_every_picture_on_a_page_says_what_it_shows():
    for path in PAGES:
        assert not re.search(r"!\[\s*\]\(", text_of(path)), f"{path.name} has a picture without a text"


# --- settings that keep the book offline and the solutions in ---------------------------------------------


def test_no_setting_names_a_host_from_which_pages_would_load():
    loading = {k: v for k, v in SPHINX.items() if re.search("path|js|css|thebe|widgets", k)}
    assert "http" not in str(loading), loading
    assert "sphinx_thebe" not in SPHINX["extensions"]
    assert SPHINX["nb_ipywidgets_js"] == {}


def test_the_formulas_come_from_an_installed_package(extension):
    config = SimpleNamespace(html_static_path=[])
    extension.add_mathjax(None, config)
    (bundle,) = config.html_static_path
    assert Path(bundle).name == SPHINX["mathjax_path"]
    assert Path(bundle).stat().st_size > 1e6


def test_the_theme_hands_out_no_sources():
    assert SPHINX["html_theme_options"]["use_download_button"] is False
    assert SPHINX["html_copy_source"] is False


def test_lessons_are_run_anew_and_anything_on_stderr_is_an_error():
    assert CONFIG["execute"]["execute_notebooks"] == "force"
    assert CONFIG["execute"]["stderr_output"] == "warn"
    assert CONFIG["execute"]["allow_errors"] is False


def test_both_licences_stand_at_the_foot_of_every_page():
    options = SPHINX["html_theme_options"]
    assert "extra-footer" in options["footer_content_items"]
    assert "MIT" in options["extra_footer"] and "CC BY 4.0" in options["extra_footer"]


# --- bibliography ------------------------------------------------------------------------------------------


def test_every_citation_is_in_the_bibliography():
    known = set(parse_file(ROOT / "book" / "references.bib").entries)
    for role in ("cite", "cite:t", "cite:p"):
        for page, keys in roles(role):
            assert {key.strip() for key in keys.split(",")} <= known, f"{page} cites {keys}"


def test_every_work_has_an_author_a_title_a_year_and_a_place_to_find_it():
    for key, entry in parse_file(ROOT / "book" / "references.bib").entries.items():
        assert entry.persons["author"] and entry.fields["title"], key
        assert re.fullmatch(r"(19|20)\d\d", entry.fields["year"]), key
        eprint = entry.fields.get("eprint", "")
        assert re.fullmatch(r"\d{4}\.\d{4,5}", eprint) or "publisher" in entry.fields, key


def test_labels_of_two_works_are_never_the_same(extension):
    entries = list(parse_file(ROOT / "book" / "references.bib").entries.values())
    labels = list(extension.AuthorYear().format_labels(entries))
    assert len(set(labels)) == len(labels)
    assert {"Humayun et al., 2024", "Tan and Huang, 2023", "Zaslavsky, 1975"} <= set(labels)


# --- glossary ----------------------------------------------------------------------------------------------


def test_every_term_that_is_used_is_explained(extension):
    terms = extension.glossary_terms(text_of(ROOT / "book" / "glossary.md"))
    for page, term in roles("term"):
        assert term.lower() in terms, f"{page} uses {term}"


def test_the_glossary_explains_each_word_once_and_in_order(extension):
    source = text_of(ROOT / "book" / "glossary.md")
    words = list(extension.glossary_terms(source).values())
    first = [w for w in words if not re.search(rf"(?m)^\S.*\n{re.escape(w)}$", source.split("{glossary}")[1])]
    assert first == sorted(first, key=str.lower)
    block = source.split("{glossary}")[1]
    assert all(len(re.findall(rf"(?m)^{re.escape(word)}$", block)) == 1 for word in words)


def test_every_word_of_the_glossary_is_said_in_a_lesson_on_a_page_or_in_the_library():
    block = text_of(ROOT / "book" / "glossary.md").split("{glossary}\n")[1].split("\n```")[0]
    entries = [re.findall(r"(?m)^\S.*$", entry) for entry in block.split("\n\n")]
    texts = [text_of(path) for path in LESSONS + PAGES if path.stem != "glossary"]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "minigrok").rglob("*.py")]
    said = " ".join(" ".join(texts).lower().split())
    unsaid = [words for words in entries if not any(word.lower() in said for word in words)]
    assert not unsaid


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("linear region", "linear region"),
        ("Linear regions", "linear region"),
        ("decision\nboundaries", "decision boundary"),
        ("Zaslavsky's formula", "Zaslavsky's formula"),
        ("neurons", "neuron"),
        ("regions", "region"),
        ("emphasis", None),
    ],
)
def test_an_emphasised_word_is_found_in_its_plural_too(extension, written, found):
    terms = extension.glossary_terms(text_of(ROOT / "book" / "glossary.md"))
    assert extension.find_term(written, terms) == found


def test_terms_of_a_block_are_its_unindented_lines(extension):
    page = "# Glossary\n\n```{glossary}\nunit\nneuron\n  One function.\n\nwidth\n  How many.\n```\n\nlast\n"
    assert extension.glossary_terms(page) == {"unit": "unit", "neuron": "neuron", "width": "width"}


# --- the pages speak of the library as it is ---------------------------------------------------------------


def test_every_attribute_on_the_notation_page_is_a_partitions():
    code = re.findall(r"`\.(\w+)`", text_of(ROOT / "book" / "notation.md"))
    assert code
    partition = set(dir(regions.Partition)) | set(regions.Partition.__dataclass_fields__)
    assert set(code) <= partition, set(code) - partition


def test_the_names_of_local_complexity_are_its_arguments():
    arguments = inspect.signature(regions.local_complexity).parameters
    text = text_of(ROOT / "book" / "notation.md")
    for name in ("radius", "n_directions", "frame"):
        assert f"`{name}`" in text and name in arguments


def test_the_teachers_page_types_no_minutes_of_a_lesson_by_hand():
    prose = re.sub(r"(?s)```.*?```", "", text_of(ROOT / "book" / "instructor.md"))
    assert set(re.findall(r"(\d+)[ -]minutes?", prose)) == {"90"}, "only a module's length is typed"


def test_the_teachers_page_shows_the_plans_as_the_lessons_have_them():
    source, names = text_of(ROOT / "book" / "instructor.md"), {}
    shown = [exec_cell(cell, names) for cell in re.findall(r"(?s)```{code-cell} python3\n(.*?)```", source)]
    assert names["timetable"].overview(names["lessons"]) in shown
    for plan in plans.MODULES.values():
        assert names["timetable"].agenda(plan, names["lessons"]) in shown
    assert names["timetable"].blocks(plans.HALF_DAY, names["lessons"]) in shown


def exec_cell(cell: str, names: dict) -> str | None:
    """Run a code cell of a page; the Markdown that its last line shows, if it does."""
    code = re.sub(r"^(---\n(.*\n)*?---\n|(:.*\n)+)", "", cell)
    *before, last = code.strip().split("\n")
    exec("\n".join(before), names)
    if not last.startswith("Markdown("):
        return exec(last, names)
    return eval(last, names).data


def test_the_commands_that_pages_give_are_understood():
    pages = "".join(
        text_of(ROOT / "book" / f"{name}.md") for name in ("instructor", "how_to_use", "installation")
    )
    commands = re.findall(r"python -m minigrok\.course\.editions ([^\n`#]+)", pages)
    assert len(commands) >= 5
    for command in commands:
        _parser().parse_args(command.split())
    named = re.findall(r"-m tasks (\w+)", pages)
    assert len(named) >= 5 and set(named) <= set(tasks.TASKS)

"""Every lesson keeps the frame; and the check of the frame sees each way to leave it."""

import ast
import re
from collections import Counter
from pathlib import Path

import course_fixture
import nbformat
import pytest
import yaml

from minigrok.course import editions, frame
from minigrok.course.cells import exercises, read_lesson
from minigrok.course.editions import check_lesson

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "lessons").glob("*.ipynb"))


@pytest.fixture(scope="module")
def notebooks():
    return {path.stem: read_lesson(path) for path in LESSONS}


def test_the_lessons_of_the_contents_are_there_and_no_others():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    named = re.findall(r"lessons/(\w+)", str(toc))
    assert len(named) >= 4 and len(named) == len(set(named))
    assert sorted(named) == [path.stem for path in LESSONS]
    assert LESSONS == editions.lesson_files()  # each begins with its two digits


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_keeps_the_frame(path):
    notebook = read_lesson(path)
    assert check_lesson(notebook) == []
    assert notebook.metadata.minigrok.lesson == path.name[:2]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_no_edition_of_a_lesson_leaks_a_solution(path):
    notebook = read_lesson(path)
    workbook = editions.workbook_edition(notebook, path.stem)
    book = editions.book_edition(notebook, path.stem)
    closed = re.compile(r"(?s)<details class=\"solution\">.*?</details>")
    for name, edition in (("workbook", workbook), ("book", book)):
        # what a reader sees: all cells, and in the book what is outside the closed dropdowns
        text = closed.sub("", "\n".join(cell.source for cell in edition.cells))
        leaked = [line for line in secrets(notebook) if line in text]
        assert leaked == [], f"{name}: solution lines are in plain sight"
    assert [line for line in secrets(notebook) if line in nbformat.writes(workbook)] == []


def secrets(notebook):
    """The lines of solutions and reference answers of 15 characters and more that are in no stub."""
    for parts in exercises(notebook).values():
        if "open-answer" in parts:
            lines, shown = parts["open-answer"].source, ""
        else:
            lines, shown = parts["answer"].source, editions.remove_solution(parts["answer"].source)
        yield from (
            line.strip()
            for line in lines.split("\n")
            if len(line.strip()) >= 15 and line.strip() not in shown
        )


def test_names_are_unique_over_the_course(notebooks):
    names = Counter()
    for notebook in notebooks.values():
        names.update(list(exercises(notebook)))
        for cell in notebook.cells:
            names[cell.metadata.get("mystnb", {}).get("figure", {}).get("name")] += 1
            names[cell.metadata.get("nbgrader", {}).get("grade_id", "") + " (grade)"] += 1
    del names[None], names[" (grade)"]
    assert [name for name, count in names.items() if count > 1] == []


def test_the_head_says_once_what_running_takes(notebooks):
    for name, notebook in notebooks.items():
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert len(re.findall(r"\d GB of memory on two CPU cores", text)) == 1, name


def test_lessons_require_earlier_lessons(notebooks):
    numbers = {notebook.metadata.minigrok.lesson for notebook in notebooks.values()}
    for name, notebook in notebooks.items():
        about = notebook.metadata.minigrok
        assert set(about.requires) <= {number for number in numbers if number < about.lesson}, name


# ---- the check itself -------------------------------------------------------------------------------------


def test_the_fixture_keeps_the_frame():
    assert check_lesson(course_fixture.lesson()) == []


def parts(notebook):
    return exercises(notebook)["09-double"]


def about(notebook, **changes):
    notebook.metadata.minigrok.update(changes)


def replace(cell, old, new):
    assert old in cell.source
    cell.source = cell.source.replace(old, new)


FIGURE, SETUP, STORY, WIDGET = 4, 1, 3, 7
DEPARTURES = {  # how the lesson is spoilt: what must be said
    "minigrok.module should be a str": lambda n: n.metadata.minigrok.pop("module"),
    "minigrok.requires should be a list": lambda n: about(n, requires="00"),
    "minigrok.minutes.run should be a number": lambda n: n.metadata.minigrok.minutes.pop("run"),
    "the kernel should be `python3`": lambda n: n.metadata.kernelspec.update(name="conda-env"),
    "should begin with `# Title`": lambda n: replace(n.cells[0], "# A fixture\n\n", ""),
    "should hold the title 'Another'": lambda n: about(n, title="Another"),
    "one `# Title`": lambda n: replace(n.cells[2], "## ", "# "),
    "`## Before you start` is missing": lambda n: replace(n.cells[0], "## Before", "### Before"),
    "in the order": lambda n: n.cells.append(n.cells.pop(-2)),
    "minutes.exercises is 18, but the cards add up to 19": lambda n: parts(n)[
        "card"
    ].metadata.minigrok.update(minutes=6),
    "minigrok.memory should be a number of GB": lambda n: n.metadata.minigrok.pop("memory"),
    "running 60 seconds and 0.5 GB,": lambda n: replace(n.cells[0], "running 60", "running 50"),
    "running 60 seconds and 0.6 GB,": lambda n: about(n, memory=0.6),
    "no paragraph gives the time": lambda n: replace(n.cells[0], "Reading 3", "Reading 4"),
    "for CPU and GPU": lambda n: replace(n.cells[0], " (no GPU needed)", ""),
    "the cell id 'cell-00' is used 2 times": lambda n: n.cells[2].update(id="cell-00"),
    "the grade_id '09-why' is used 2 times": lambda n: parts(n)["answer"].metadata.nbgrader.update(
        grade_id="09-why"
    ),
    "raises-exception belongs to the workbook": lambda n: n.cells[STORY].metadata.tags.append(
        "raises-exception"
    ),
    "a widget cell needs metadata minigrok.note": lambda n: n.cells[WIDGET].metadata.minigrok.pop("note"),
    "solution markers belong into the answer": lambda n: n.cells[STORY].update(source="### BEGIN SOLUTION"),
    "outputs should not be stored": lambda n: n.cells[STORY].update(execution_count=1),
    "at most 15 are read with ease": lambda n: n.cells[STORY].update(source="assert 1\n" * 16),
    "not plain Python (line 1": lambda n: n.cells[STORY].update(source="%matplotlib inline"),
    "there is no assert": lambda n: n.cells[STORY].update(source="factor = 2"),
    "needs mystnb.image.alt": lambda n: n.cells[FIGURE].metadata.mystnb.image.update(alt="a line"),
    "a name that begins fig-09-": lambda n: n.cells[FIGURE].metadata.mystnb.figure.update(name="fig-line"),
    "needs mystnb.figure": lambda n: n.cells[FIGURE].metadata.mystnb.figure.pop("caption"),
    "no captioned figures in solutions": lambda n: parts(n)["answer"].metadata.update(
        mystnb=n.cells[FIGURE].metadata.mystnb
    ),
    "the figure name 'fig-09-line' is used 2 times": lambda n: n.cells[STORY].metadata.update(
        mystnb=n.cells[FIGURE].metadata.mystnb
    ),
    "should have minigrok.part `setup`": lambda n: n.cells[SETUP].metadata.minigrok.pop("part"),
    "no line `CLASS_SEED = 0`": lambda n: replace(n.cells[SETUP], "CLASS_SEED = 0", "CLASS_SEED = 10"),
    "set in the setup cell only": lambda n: n.cells[STORY].update(source="CLASS_SEED = 3\nassert 1"),
    "there is no sealed prediction": lambda n: [n.cells.pop(5), n.cells.pop(5)],
    "followed at once by": lambda n: n.cells.pop(6),
    "should have at least four exercises, it has 3": lambda n: about(n, lesson="03"),
    "its parts should be card, answer, check, hints or": lambda n: n.cells.remove(parts(n)["hints"]),
    "its cells should stand together": lambda n: n.cells.insert(10, n.cells[STORY]),
    "its name should begin with 08-": lambda n: about(n, lesson="08"),
    "belong to no exercise": lambda n: n.cells[STORY].metadata.update(minigrok={"part": "check"}),
    "its card gives 5 points, nbgrader 2": lambda n: parts(n)["card"].metadata.minigrok.update(points=5),
    "two hints are wanted": lambda n: parts(n)["hints"].update(source="Think."),
    "leave an empty line": lambda n: replace(parts(n)["hints"], "</summary>\n\n", "</summary>\n"),
    "minigrok.difficulty of its card should be a whole number": lambda n: parts(n)[
        "card"
    ].metadata.minigrok.pop("difficulty"),
    "`### Exercise 9.1: Title`": lambda n: replace(parts(n)["card"], "9.1", "9.2"),
    "should have the line `Difficulty 1 of 5 · 5 minutes · 2 points`": lambda n: replace(
        parts(n)["card"], "5 minutes", "6 minutes"
    ),
    "nbgrader metadata of its check": lambda n: parts(n)["check"].metadata.nbgrader.update(locked=False),
    "nbgrader metadata of its answer": lambda n: parts(n)["answer"].metadata.pop("nbgrader"),
    "`### BEGIN SOLUTION` on line 3 is never closed": lambda n: replace(
        parts(n)["answer"], "### END", "# END"
    ),
    "its answer has no `### BEGIN SOLUTION`": lambda n: parts(n)["answer"].update(source="x = 1"),
    "no plain Python once the solution is removed": lambda n: parts(n)["answer"].update(
        source="### BEGIN SOLUTION\nif 1:\n### END SOLUTION\n    pass"
    ),
}


@pytest.mark.parametrize("text", DEPARTURES)
def test_a_departure_from_the_frame_is_told(text):
    notebook = nbformat.from_dict(course_fixture.lesson())
    DEPARTURES[text](notebook)
    problems = check_lesson(notebook)
    assert any(text in problem for problem in problems), problems


def test_an_empty_notebook_is_told_everything():
    assert len(check_lesson(nbformat.v4.new_notebook())) > 10


def test_the_command_line_prints_the_problems(tmp_path, capsys):
    path = course_fixture.course(tmp_path) / "lessons" / f"{course_fixture.NAME}.ipynb"
    assert frame.main([str(path)]) == 0
    assert capsys.readouterr().out == "lessons that keep the frame: 1\n"
    path.write_text(path.read_text(encoding="utf-8").replace("## The story", "# The story"), encoding="utf-8")
    assert frame.main([str(path)]) == 1
    assert capsys.readouterr().out.startswith(f"{course_fixture.NAME}.ipynb: there should be one `# Title`")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_column_of_a_table_has_a_name(path):
    # A screen reader says a column's name before each of its cells.
    texts = [cell.source for cell in read_lesson(path).cells if cell.cell_type == "markdown"]
    heads = [head for text in texts for head in re.findall(r"(?m)^(\|.*\|)\n\|[-:| ]+\|$", text)]
    assert [head for head in heads if re.search(r"\|\s*\|", head)] == []


RETURNS = r"\.(axhline|axvline|legend|set_title|suptitle|plot|scatter|annotate)\("


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_figure_cell_shows_its_figure_alone(path):
    """A value as the last line is a second output, and the book then has two figures of one name."""
    for cell in read_lesson(path).cells:
        if "figure" not in cell.metadata.get("mystnb", {}):
            continue
        assert "print(" not in cell.source, "what a figure cell prints stands in a cell of its own"
        if not re.search(r";\s*(#.*)?$", cell.source):
            last = ast.parse(cell.source).body[-1]
            shown = ast.unparse(last) if isinstance(last, ast.Expr) else ""
            assert not re.search(RETURNS, shown), f"end this cell with a semicolon: {shown}"

"""The frame that every lesson keeps, as a list of problems in words.

python -m minigrok.course.frame            all lessons of this clone
python -m minigrok.course.frame lessons/01_folding.ipynb
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from nbformat import NotebookNode

from minigrok.course.cells import BEGIN, END, exercises, part, read_lesson, remove_solution, tags

__all__ = ["HEADINGS", "MAX_LINES", "check_lesson", "main"]

HEADINGS = ["You will be able to", "Before you start", "What you saw", "Going further", "References"]
CODE_EXERCISE = ["card", "answer", "check", "hints"]
OPEN_EXERCISE = ["card", "open-answer", "hints"]
MAX_LINES = 15
NBGRADER = {  # what nbgrader must know of each part
    "answer": {"grade": False, "solution": True, "locked": False},
    "check": {"grade": True, "solution": False, "locked": True},
    "open-answer": {"grade": True, "solution": True, "locked": False},
}


def check_lesson(notebook: NotebookNode) -> list[str]:
    """Where a lesson departs from the frame, one sentence each; an empty list if it does nowhere.

    Looks at metadata, headings, exercises, points, figures, code cells and stored outputs; runs nothing.
    """
    checks = (_metadata, _headings, _times, _cells, _code, _figures, _setup, _exercise_list, _prediction)
    return [problem for check in checks for problem in check(notebook)]


def _metadata(notebook: NotebookNode) -> Iterator[str]:
    about = notebook.metadata.get("minigrok", {})
    kinds = {"lesson": str, "title": str, "minutes": dict, "device": str, "module": str, "requires": list}
    for key, kind in kinds.items():
        if not isinstance(about.get(key), kind):
            yield f"notebook metadata minigrok.{key} should be a {kind.__name__}, got {about.get(key)!r}"
    minutes = about.get("minutes") if isinstance(about.get("minutes"), dict) else {}
    for key in ("read", "run", "exercises"):
        if not isinstance(minutes.get(key), (int, float)):
            yield f"notebook metadata minigrok.minutes.{key} should be a number, got {minutes.get(key)!r}"
    if not isinstance(about.get("memory"), (int, float)):
        yield f"notebook metadata minigrok.memory should be a number of GB, got {about.get('memory')!r}"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernel should be `python3`"


def _headings(notebook: NotebookNode) -> Iterator[str]:
    lines = [line for line in _prose(notebook) if re.match(r"#{1,2} ", line)]
    title = notebook.metadata.get("minigrok", {}).get("title")
    if not lines or not lines[0].startswith("# "):
        yield "the lesson should begin with `# Title`"
    elif title and title not in lines[0]:
        yield f"the first heading should hold the title {title!r}, got {lines[0]!r}"
    if sum(line.startswith("# ") for line in lines) > 1:
        yield "there should be one `# Title`, sections begin with `## `"
    found = [line[3:].strip() for line in lines if line.startswith("## ")]
    yield from (f"the section `## {heading}` is missing" for heading in HEADINGS if heading not in found)
    kept = [heading for heading in found if heading in HEADINGS]
    if sorted(kept) == sorted(HEADINGS) and kept != HEADINGS:
        yield f"the sections should come in the order {', '.join(HEADINGS)}, got {', '.join(kept)}"


def _times(notebook: NotebookNode) -> Iterator[str]:
    about = notebook.metadata.get("minigrok", {})
    minutes = about.get("minutes", {})
    cards = [parts["card"] for parts in exercises(notebook).values() if "card" in parts]
    total = sum(card.metadata.minigrok.get("minutes", 0) for card in cards)
    if total != minutes.get("exercises"):
        yield f"minutes.exercises is {minutes.get('exercises')}, but the cards add up to {total}"
    running = f"{60 * minutes.get('run', 0):.0f} seconds and {about.get('memory', 0)} GB"
    words = ("reading", "running", running.lower(), "exercises", "cpu", "gpu")
    words += (str(minutes.get("read")), str(minutes.get("exercises")))
    paragraphs = "\n".join(_prose(notebook)).lower().split("\n\n")
    if not any(all(word in text for word in words) for text in paragraphs):
        yield (
            f"no paragraph gives the time: it should say reading {minutes.get('read')} minutes, running "
            f"{running}, exercises {minutes.get('exercises')} minutes, for CPU and GPU"
        )


def _cells(notebook: NotebookNode) -> Iterator[str]:
    for name, count in Counter(cell.get("id") for cell in notebook.cells).items():
        if count > 1:
            yield f"the cell id {name!r} is used {count} times"
    grades = Counter(
        cell.metadata["nbgrader"].get("grade_id") for cell in notebook.cells if "nbgrader" in cell.metadata
    )
    yield from (f"the grade_id {name!r} is used {count} times" for name, count in grades.items() if count > 1)
    for where, cell in _named(notebook):
        if "raises-exception" in tags(cell):
            yield f"{where}: the tag raises-exception belongs to the workbook, which sets it itself"
        if "widget" in tags(cell) and not cell.metadata.get("minigrok", {}).get("note"):
            yield f"{where}: a widget cell needs metadata minigrok.note, one sentence for the book"
        if part(cell) not in ("answer",) and (BEGIN in cell.source or END in cell.source):
            yield f"{where}: solution markers belong into the answer cell of an exercise"
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            yield f"{where}: outputs should not be stored, run nbstripout"


def _code(notebook: NotebookNode) -> Iterator[str]:
    code = [(where, cell) for where, cell in _named(notebook) if cell.cell_type == "code"]
    for where, cell in code:
        lines = [
            line for line in cell.source.split("\n") if line.strip() and BEGIN not in line and END not in line
        ]
        if len(lines) > MAX_LINES:
            yield f"{where}: {len(lines)} lines of code, at most {MAX_LINES} are read with ease"
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            yield f"{where}: not plain Python (line {error.lineno}: {error.msg}); lessons have no magics"
    if not any(
        isinstance(node, ast.Assert) for _, cell in code if part(cell) is None for node in _nodes(cell)
    ):
        yield "there is no assert: what the lesson claims should be tested where it is claimed"


def _figures(notebook: NotebookNode) -> Iterator[str]:
    number, names = notebook.metadata.get("minigrok", {}).get("lesson"), Counter()
    for where, cell in _named(notebook):
        picture = cell.metadata.get("mystnb", {})
        if not picture:
            continue
        figure, alt = picture.get("figure", {}), picture.get("image", {}).get("alt", "")
        names[figure.get("name")] += 1
        if len(alt.split()) < 3:
            yield f"{where}: the figure needs mystnb.image.alt, what a reader should see in it, got {alt!r}"
        if not figure.get("caption") or not str(figure.get("name", "")).startswith(f"fig-{number}-"):
            yield f"{where}: the figure needs mystnb.figure: a caption, and a name that begins fig-{number}-"
        if part(cell) in ("answer", "check"):
            yield f"{where}: no captioned figures in solutions, they break the PDF"
    yield from (
        f"the figure name {name!r} is used {count} times" for name, count in names.items() if count > 1
    )


def _setup(notebook: NotebookNode) -> Iterator[str]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [part(cell) for cell in code].count("setup") != 1 or part(code[0]) != "setup":
        yield "the first code cell, and no other, should have minigrok.part `setup`"
        return
    asked = any("CLASS_SEED" in cell.source for cell in code[1:])
    if asked and not re.search(r"(?m)^CLASS_SEED = 0\b", code[0].source):
        yield "CLASS_SEED is used, but the setup cell has no line `CLASS_SEED = 0`"
    if any(re.search(r"(?m)^\s*CLASS_SEED\s*=[^=]", cell.source) for cell in code[1:]):
        yield "CLASS_SEED should be set in the setup cell only: an edition for a class changes it there"


def _prediction(notebook: NotebookNode) -> Iterator[str]:
    parts = [part(cell) for cell in notebook.cells]
    if "prediction" not in parts and notebook.metadata.get("minigrok", {}).get("lesson") != "00":
        yield "there is no sealed prediction (parts `prediction`, then `predict-answer`)"
    for here, after in pairwise([*parts, None]):
        if (here == "prediction") != (after == "predict-answer"):
            yield "a cell `prediction` should be followed at once by its `predict-answer`"


def _exercise_list(notebook: NotebookNode) -> Iterator[str]:
    number, found = notebook.metadata.get("minigrok", {}).get("lesson", ""), exercises(notebook)
    if number in ("01", "02", "03") and len(found) < 4:
        yield f"lesson {number} should have at least four exercises, it has {len(found)}"
    order = [cell.metadata.get("minigrok", {}).get("exercise") for cell in notebook.cells]
    for position, (name, parts) in enumerate(found.items(), start=1):
        where = f"exercise {name}"
        held = [
            part(cell) for cell in notebook.cells if cell.metadata.get("minigrok", {}).get("exercise") == name
        ]
        if held not in (CODE_EXERCISE, OPEN_EXERCISE):
            wanted = f"{', '.join(CODE_EXERCISE)} or {', '.join(OPEN_EXERCISE)}"
            yield f"{where}: its parts should be {wanted}, got {held}"
            continue
        if set(order[order.index(name) :][: len(held)]) != {name}:
            yield f"{where}: its cells should stand together"
        if not name.startswith(f"{number}-"):
            yield f"{where}: its name should begin with {number}-"
        shown = f"{str(number).lstrip('0') or 0}.{position}"
        yield from (f"{where}: {problem}" for problem in _exercise(parts, shown))
    if stray := [
        part(cell)
        for cell, name in zip(notebook.cells, order, strict=True)
        if name is None and part(cell) in CODE_EXERCISE + OPEN_EXERCISE
    ]:
        yield f"cells with the parts {stray} belong to no exercise: set minigrok.exercise"


def _exercise(parts: dict[str, NotebookNode], number: str) -> Iterator[str]:
    yield from _card(parts["card"], number)
    graded = parts.get("check", parts.get("open-answer"))
    points = parts["card"].metadata.minigrok.get("points")
    if graded.metadata.get("nbgrader", {}).get("points") != points:
        yield f"its card gives {points} points, nbgrader {graded.metadata.get('nbgrader', {}).get('points')}"
    for name in parts:
        yield from _grading(parts[name], name) if name in NBGRADER else ()
    if "answer" in parts:
        yield from _answer(parts["answer"])
    hints = re.findall(r"(?s)<details>\s*<summary>(.*?)</summary>(.*?)</details>", parts["hints"].source)
    if len(hints) < 2:
        yield f"two hints are wanted, `<details><summary>symptom</summary> ... </details>`, got {len(hints)}"
    if any(not text.startswith("\n\n") for _, text in hints):
        yield "leave an empty line after `</summary>`, else Markdown and formulas in the hint stay raw"


def _card(card: NotebookNode, number: str) -> Iterator[str]:
    about = card.metadata.minigrok
    for key in ("difficulty", "minutes", "points"):
        if not isinstance(about.get(key), int):
            yield f"metadata minigrok.{key} of its card should be a whole number, got {about.get(key)!r}"
    if not re.match(rf"### Exercise {re.escape(number)}: \S", card.source):
        yield f"its card should begin with `### Exercise {number}: Title`, got {card.source.splitlines()[:1]}"
    minutes, points = about.get("minutes"), about.get("points")
    line = (
        f"Difficulty {about.get('difficulty')} of 5 · {minutes} minute{'s' * (minutes != 1)} · "
        f"{points} point{'s' * (points != 1)}"
    )
    if line not in (text.strip() for text in card.source.splitlines()):
        yield f"its card should have the line `{line}`"


def _grading(cell: NotebookNode, name: str) -> Iterator[str]:
    exercise = cell.metadata.minigrok.exercise
    expected = {**NBGRADER[name], "task": False, "schema_version": 3}
    if name != "open-answer":
        expected["grade_id"] = exercise + ("-check" if name == "check" else "")
    got = cell.metadata.get("nbgrader", {})
    if wrong := {key: got.get(key) for key, value in expected.items() if got.get(key) != value}:
        wanted = {key: expected[key] for key in wrong}
        yield f"nbgrader metadata of its {name} should have {wanted}, got {wrong}"


def _answer(cell: NotebookNode) -> Iterator[str]:
    try:
        source = remove_solution(cell.source, "its answer")
        ast.parse(source)
    except ValueError as error:
        yield str(error)
    except SyntaxError as error:
        yield f"its answer is no plain Python once the solution is removed (line {error.lineno}: {error.msg})"
    else:
        if source == cell.source:
            yield f"its answer has no `{BEGIN}`"


def _named(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    for index, cell in enumerate(notebook.cells, start=1):
        first = next((line for line in cell.source.split("\n") if line.strip()), "")
        yield f"cell {index} ({first[:40]!r})", cell


def _prose(notebook: NotebookNode) -> Iterator[str]:
    """The lines of the Markdown cells, fenced code left out, an empty line after each cell."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield from re.sub(r"(?ms)^(```+|~~~+).*?^\1", "", cell.source).split("\n")
            yield ""


def _nodes(cell: NotebookNode) -> Iterator[ast.AST]:
    try:
        return ast.walk(ast.parse(cell.source))
    except SyntaxError:  # told by _code
        return iter(())


def main(argv: list[str]) -> int:
    """Print the problems of the given lessons (default: all of this clone); 1 if there are any."""
    lessons = [Path(name) for name in argv] or sorted(
        (Path(__file__).resolve().parents[2] / "lessons").glob("*.ipynb")
    )
    problems = [f"{path.name}: {problem}" for path in lessons for problem in check_lesson(read_lesson(path))]
    print("\n".join(problems) or f"lessons that keep the frame: {len(lessons)}")
    return 1 if problems or not lessons else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

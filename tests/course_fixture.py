"""A course of one small lesson, for the tests of the editions; its checks are a helper file beside it."""

import json
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

NAME = "09_fixture"

CHECKS = """
import random

from minigrok.course.exercises import call, expect_array, expect_close, expect_number, passed


def double(function, *, seed=0):
    values = [random.Random(seed).random() for _ in range(5)]
    got = expect_array(call(function, values), (5,), "the result")
    expect_close(got, [2 * v for v in values], mistakes={"you squared it": [v * v for v in values]})
    passed("twice as much")


def secret(value, *, seed=0):
    expect_close(expect_number(value), random.Random(seed).randrange(10**6), "secret")
    passed("that is your class's number")
"""

TOP = """# A fixture

You will see that editions are made from one source.

## You will be able to

- make an edition

## Before you start

Nothing.

Reading 3 minutes, running 60 seconds and 0.5 GB on a CPU (no GPU needed), exercises 18 minutes."""

HINTS = """<details><summary>It fails</summary>

Read what it says.

</details>

<details><summary>It still fails</summary>

Read it again.

</details>"""

DOUBLE = '''def double(values):
    """Each of the values, twice."""
    ### BEGIN SOLUTION
    twice = [2 * value for value in values]
    return twice
    ### END SOLUTION'''

SECRET = """secret = None
### BEGIN SOLUTION
generator = random.Random(CLASS_SEED)
secret = generator.randrange(10**6)
### END SOLUTION"""

REFERENCE = "Because the source is one, no two editions can disagree with each other."
ALT = "A straight line that rises from the left to the right."


def lesson() -> NotebookNode:
    """The teacher's edition; it keeps the frame that `check_lesson` asks for."""
    cells = [
        new_markdown_cell(TOP),
        _code(
            "import random\n\nimport check_fixture as check\n\nCLASS_SEED = 0  # your class's number",
            part="setup",
        ),
        new_markdown_cell("## The story"),
        _code("factor = 2\nassert factor == 2, 'two should be two'"),
        _code("line = [0, factor]\nprint(line)"),
        new_markdown_cell("How many editions are there?", metadata={"minigrok": {"part": "prediction"}}),
        _code('my_prediction = "..."', part="predict-answer"),
        _code("print('a control')", note="In JupyterLab a slider stands here."),
        new_markdown_cell("Only teachers read this.", metadata={"tags": ["teacher"]}),
        *_exercise("09-double", 1, "Twice", DOUBLE, "check.double(double, seed=CLASS_SEED)", 2),
        *_exercise("09-secret", 2, "Your number", SECRET, "check.secret(secret, seed=CLASS_SEED)", 3),
        *_open("09-why", 3, "Why one source", REFERENCE, 1),
        new_markdown_cell("## What you saw\n\nOne. Two. Three."),
        new_markdown_cell("## Going further\n\nThere is more."),
        new_markdown_cell("## References\n\n{cite:t}`tan2023` and {cite}`unknown`"),
    ]
    cells[3].metadata["tags"] = ["needed-by-exercises"]
    cells[4].metadata["mystnb"] = {
        "image": {"alt": ALT},
        "figure": {"caption": "A line.", "name": "fig-09-line"},
    }
    cells[7].metadata["tags"] = ["widget"]
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index:02d}"
    about = {"lesson": "09", "title": "A fixture", "device": "cpu", "module": "geometry", "requires": []}
    about |= {"minutes": {"read": 3, "run": 1, "exercises": 18}, "memory": 0.5}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"minigrok": about, "kernelspec": kernel})


def course(root: Path, notebook: NotebookNode | None = None) -> Path:
    """A clone of the repository, as far as the editions look at it."""
    files = {
        f"lessons/{NAME}.ipynb": json.dumps(notebook or lesson()),
        "lessons/check_fixture.py": CHECKS,
        "lessons/recordings/other.npz": "numbers",
        "lessons/.ipynb_checkpoints/old.ipynb": "{}",
        "_config.yml": "title: fixture\nonly_build_toc_files: true\n",
        "_toc.yml": f"format: jb-book\nroot: book/intro\nchapters:\n  - file: lessons/{NAME}\n",
        "book/intro.md": "# Intro\n",
        "book/references.bib": "@misc{tan2023,\n author = {Tan, Zhiquan and Huang, Weiran}, year = {2023}}\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def _code(source: str, **minigrok) -> NotebookNode:
    return new_code_cell(source, metadata={"minigrok": minigrok} if minigrok else {})


def _card(name: str, number: int, title: str, points: int) -> NotebookNode:
    line = f"Difficulty 1 of 5 · {4 + number} minutes · {points} point{'s' * (points != 1)}"
    about = {"part": "card", "exercise": name, "difficulty": 1, "minutes": 4 + number, "points": points}
    text = f"### Exercise 9.{number}: {title}\n\n{line}\n\nDo it, because it matters."
    return new_markdown_cell(text, metadata={"minigrok": about})


def _hints(name: str) -> NotebookNode:
    return new_markdown_cell(HINTS, metadata={"minigrok": {"part": "hints", "exercise": name}})


def _exercise(name: str, number: int, title: str, answer: str, check: str, points: int) -> list[NotebookNode]:
    cells = [_code(answer, part="answer", exercise=name), _code(check, part="check", exercise=name)]
    cells[0].metadata["nbgrader"] = _grading(name, grade=False, solution=True, locked=False)
    cells[1].metadata["nbgrader"] = _grading(
        f"{name}-check", grade=True, solution=False, locked=True, points=points
    )
    return [_card(name, number, title, points), *cells, _hints(name)]


def _open(name: str, number: int, title: str, reference: str, points: int) -> list[NotebookNode]:
    answer = new_markdown_cell(reference, metadata={"minigrok": {"part": "open-answer", "exercise": name}})
    answer.metadata["nbgrader"] = _grading(name, grade=True, solution=True, locked=False, points=points)
    return [_card(name, number, title, points), answer, _hints(name)]


def _grading(name: str, **options) -> dict:
    return {"grade_id": name, "schema_version": 3, "task": False, **options}

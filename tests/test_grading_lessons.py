"""Whole rounds of nbgrader over lessons of the course: handed out, handed in, marked.

Seven invented students hand in each lesson. By default two light lessons are graded; all of them by
`make test-grading`, which sets MINIGROK_GRADE to their numbers ("00 01 02 ..."). MINIGROK_SANDBOX chooses the
kind of sandbox; without it, it is the strongest of this machine.
"""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from minigrok.course import editions
from minigrok.course.cells import exercises, part, read_lesson

HERE = importlib.util.find_spec("nbgrader") is not None
pytestmark = pytest.mark.skipif(
    not HERE and "CI" not in os.environ, reason='nbgrader is not installed: pip install -e ".[instructor]"'
)
ROOT = Path(__file__).resolve().parents[1]
SEED = 17  # none of the numbers of the book is right for it, see the last test
ASKED = os.environ.get("MINIGROK_GRADE", "01 06").split()
LESSONS = {path.stem: read_lesson(path) for path in editions.lesson_files(ASKED)}
LOOP = 30  # seconds after which a cell counts as endless: enough for an honest one on a busy machine


def with_check(notebook) -> dict[str, dict]:
    return {name: parts for name, parts in exercises(notebook).items() if "check" in parts}


def checked(lesson: str) -> dict[str, dict]:
    return with_check(LESSONS[lesson])


def points(lesson: str, names) -> dict[str, float]:
    """Full marks for the exercises that are named, none for the rest."""
    return {
        name: parts["card"].metadata.minigrok.points * (name in names)
        for name, parts in checked(lesson).items()
    }


def solution(lesson: str, name: str) -> str:
    lines = checked(lesson)[name]["answer"].source.split("\n")
    return "\n".join(line for line in lines if "### " not in line)


def numbers(notebook) -> list[str]:
    """The exercises whose answer is a value of the class's seed."""
    return [
        name
        for name, parts in with_check(notebook).items()
        if "CLASS_SEED" in parts["check"].source and "def " not in parts["answer"].source
    ]


def planted(lesson: str, name: str) -> str:
    """A usual mistake, from `tests/wrong_answers/`."""
    path = ROOT / "tests" / "wrong_answers" / f"lesson{lesson[:2]}.py"
    spec = importlib.util.spec_from_file_location(f"wrong_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WRONG[name][0][1]


# ---- the students: each fills in a notebook, and returns the exercises that earn their points --------------


def answer(notebook, name: str, source: str) -> None:
    exercises(notebook)[name]["answer"].source = source


def reference(notebook, lesson, course):
    for name in checked(lesson):
        answer(notebook, name, solution(lesson, name))
    for parts in exercises(notebook).values():
        if "open-answer" in parts:
            parts["open-answer"].source = "In my own words."
    return list(checked(lesson))


def blank(notebook, lesson, course):
    return []


def mistaken(notebook, lesson, course):
    for name in checked(lesson):
        answer(notebook, name, planted(lesson, name))
    return []


def published(notebook, lesson, course):
    """The book's solutions, whose numbers are those of seed 0."""
    for name in checked(lesson):
        answer(notebook, name, re.sub(r"\bCLASS_SEED\b", "0", solution(lesson, name)))
    return [name for name in checked(lesson) if name not in numbers(LESSONS[lesson])]


def edited(notebook, lesson, course):
    """Wrong answers under checks that always pass, are not to be run, are replaced or gone; and the seed set
    back, in a cell whose label nbgrader does not know.
    """
    mistaken(notebook, lesson, course)
    for name in checked(lesson):
        cell = exercises(notebook)[name]["check"]
        cell.source, cell.metadata["tags"] = "print('✓ of course')", ["skip-execution"]
    for cell in notebook.cells:
        if part(cell) == "setup":
            cell.source = cell.source.replace(f"CLASS_SEED = {SEED}", "CLASS_SEED = 0")
            cell.metadata["nbgrader"]["schema_version"] = 99
    first = next(iter(checked(lesson)))
    says = "lambda *a, **k: print('✓ of course')"
    names = "[name for name in vars(check) if not name.startswith('_')]"
    replace = f"for name in {names}:\n    setattr(check, name, {says})\ncheck.passed = {says}"
    answer(notebook, first, f"{replace}\nclass Check:\n    __getattr__ = lambda *a: {says}\ncheck = Check()")
    notebook.cells.remove(exercises(notebook)[list(checked(lesson))[-1]]["check"])
    return []


def endless(notebook, lesson, course):
    """A loop in the first exercise, in a function where one is asked for; the rest is right."""
    right = reference(notebook, lesson, course)
    function = re.search(r"^def (\w+)", solution(lesson, right[0]), re.M)
    head = f"def {function[1]}(*arguments, **options):\n    " if function else ""
    answer(
        notebook, right[0], f"import time\n{head}while True: time.sleep(0.1)  # or the tests would be slow"
    )
    return right[1:]


MALICE = """
import os, socket, urllib.request
import numpy as np
tries = [  # a name that no lesson needs
    lambda: open({secret!r}).read(),
    lambda: open({secret!r}, "a").write("changed"),
    lambda: os.listdir({folder!r}),
    lambda: os.remove({secret!r}),
    lambda: socket.create_connection(("127.0.0.1", {port}), timeout=3),
    lambda: urllib.request.urlopen("http://127.0.0.1:{port}", timeout=3),
    lambda: os.system("touch {secret}.touched"),
    lambda: np.ones(2**34).sum(),
]
for attempt in tries:
    try:
        print("SUCCESS", attempt())
    except Exception as error:
        print(type(error).__name__)
"""


def malicious(notebook, lesson, course):
    """Files of others, the network, other programs, all memory; and a function that ends the kernel."""
    right = reference(notebook, lesson, course)
    secret, port = course / "secret.txt", course.server.getsockname()[1]
    answer(notebook, right[0], MALICE.format(secret=str(secret), folder=str(course), port=port))
    answer(notebook, right[-1], "import os\nprint('✓ done', flush=True)\nos._exit(0)")
    return right[1:-1]


STUDENTS = [reference, blank, mistaken, published, edited, endless, malicious]


# ---- a course ---------------------------------------------------------------------------------------------


class Course(type(Path())):
    """The folder of a course, and a server that waits for students who call it."""

    server: socket.socket


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    made = Course(editions.release(tmp_path_factory.mktemp("class") / "course", SEED, lessons=ASKED))
    with (made / "nbgrader_config.py").open("a", encoding="utf-8") as config:
        config.write(f"c.ExecuteLesson.timeout = {LOOP}\n")
        config.write(f"c.LessonKernelManager.sandbox = {os.environ.get('MINIGROK_SANDBOX', 'auto')!r}\n")
    (made / "secret.txt").write_text("of the teacher")
    with socket.create_server(("127.0.0.1", 0)) as made.server:
        made.server.settimeout(0)
        yield made


@pytest.fixture(scope="module", params=LESSONS)
def graded(request, course):
    """A lesson handed in by all students and marked: its name, and the exercises that should have earned."""
    lesson, right = request.param, {}
    for student in STUDENTS:
        handed_in = course / "submitted" / student.__name__ / lesson
        shutil.copytree(course / "release" / lesson, handed_in)
        notebook = nbformat.read(handed_in / f"{lesson}.ipynb", as_version=4)
        right[student] = student(notebook, lesson, course)
        (handed_in / f"{lesson}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    command = [sys.executable, "-m", "nbgrader", "autograde", lesson, "--create"]
    run = subprocess.run(command, cwd=course, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]
    return lesson, right


@pytest.mark.parametrize("student", STUDENTS, ids=lambda student: student.__name__)
def test_each_earns_what_is_deserved(course, graded, student):
    from nbgrader.api import Gradebook

    lesson, right = graded
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        grades = {
            grade.name: grade
            for grade in book.find_submission_notebook(lesson, lesson, student.__name__).grades
        }
    earned = {name: grades[f"{name}-check"].score for name in checked(lesson)}
    assert earned == points(lesson, right[student])
    for name, parts in exercises(LESSONS[lesson]).items():
        if "open-answer" in parts:  # waits for a person where there is something to read
            written = student in (reference, endless, malicious)
            assert grades[name].needs_manual_grade == written, name


def test_malice_has_done_nothing(course, graded):
    lesson, _ = graded
    marked = course / "autograded" / "malicious" / lesson / f"{lesson}.ipynb"
    cells = exercises(nbformat.read(marked, as_version=4))
    first, *_ = checked(lesson)
    printed = "".join(output.get("text", "") for output in cells[first]["answer"].outputs)
    assert len(printed.splitlines()) == 8, printed
    assert "SUCCESS" not in printed
    assert (course / "secret.txt").read_text() == "of the teacher"
    assert not list(course.glob("secret.txt.*"))
    with pytest.raises(BlockingIOError):  # nobody has called
        course.server.accept()


def test_only_what_marks_need_was_run(course, graded):
    lesson, _ = graded
    marked = course / "autograded" / "reference" / lesson / f"{lesson}.ipynb"
    cells = [cell for cell in nbformat.read(marked, as_version=4).cells if cell.cell_type == "code"]
    left_out = [cell for cell in cells if "not run for the marks" in str(cell.outputs)]
    assert len(left_out) >= len(cells) / 3
    assert not [cell for cell in left_out if part(cell) in ("setup", "answer", "check")]


# ---- the class seed ---------------------------------------------------------------------------------------


def test_every_lesson_asks_each_class_for_a_number_of_its_own():
    assert all(numbers(read_lesson(path)) for path in editions.lesson_files())


@pytest.mark.parametrize("path", editions.lesson_files(), ids=lambda path: path.stem)
def test_no_number_of_the_book_is_right_for_this_class(path, monkeypatch):
    from minigrok.course.grading import shared_numbers

    monkeypatch.chdir(path.parent)
    assert shared_numbers(read_lesson(path), SEED) == []
    assert shared_numbers(read_lesson(path), 0) == numbers(read_lesson(path))

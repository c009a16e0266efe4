"""One nbgrader course from the fixture lesson: who earns what, and what the release gives away."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys

import course_fixture
import nbformat
import pytest
from course_fixture import DOUBLE, NAME, REFERENCE, SECRET

from minigrok.course import editions
from minigrok.course.cells import BEGIN, CODE_STUB, END, exercises

HERE = importlib.util.find_spec("nbgrader") is not None
needs_nbgrader = pytest.mark.skipif(
    not HERE and "CI" not in os.environ, reason='nbgrader is not installed: pip install -e ".[instructor]"'
)
FILE, SEED = f"{NAME}.ipynb", 7
HARD_CODED = "def double(values):\n    return [2.0] * 5"
PUBLISHED = "secret = 885440"  # what the book shows for seed 0; the test below holds it true


def cell(notebook, name, part):
    return exercises(notebook)[name][part]


def reference(notebook):
    cell(notebook, "09-double", "answer").source = DOUBLE
    cell(notebook, "09-secret", "answer").source = SECRET
    cell(notebook, "09-why", "open-answer").source = "My own words."


def blank(notebook):
    pass


def hard_coded(notebook):
    cell(notebook, "09-double", "answer").source = HARD_CODED
    cell(notebook, "09-secret", "answer").source = PUBLISHED


def edited(notebook):
    """Checks that always pass, and the seed set back to the published one, twice."""
    hard_coded(notebook)
    for name in ("09-double", "09-secret"):
        cell(notebook, name, "check").source = "print('✓ of course')"
    setup = next(cell for cell in notebook.cells if cell.metadata.get("minigrok", {}).get("part") == "setup")
    setup.source = setup.source.replace(f"CLASS_SEED = {SEED}", "CLASS_SEED = 0")
    cell(notebook, "09-secret", "answer").source = f"CLASS_SEED = 0\n{PUBLISHED}"


EARNED = {reference: (2, 3), blank: (0, 0), hard_coded: (0, 0), edited: (0, 0)}  # of 09-double and 09-secret


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A release, four submissions, and nbgrader's marks for them."""
    folder = tmp_path_factory.mktemp("grading")
    root = course_fixture.course(folder / "clone")
    made = editions.release(folder / "class", SEED, root=root)
    for student in EARNED:
        handed_in = made / "submitted" / student.__name__ / NAME
        shutil.copytree(made / "release" / NAME, handed_in)
        notebook = nbformat.read(handed_in / FILE, as_version=4)
        student(notebook)
        nbformat.write(notebook, handed_in / FILE)
    nbgrader(made, "autograde", NAME, "--create")
    return made


def nbgrader(folder, *command):
    run = subprocess.run(
        [sys.executable, "-m", "nbgrader", *command], cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def released(course):
    return nbformat.read(course / "release" / NAME / FILE, as_version=4)


@needs_nbgrader
@pytest.mark.parametrize("student", EARNED, ids=lambda student: student.__name__)
def test_what_each_submission_earns(course, student):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        submission = book.find_submission_notebook(NAME, NAME, student.__name__)
        grades = {grade.name: grade for grade in submission.grades}
        earned = tuple(grades[f"{name}-check"].score for name in ("09-double", "09-secret"))
        assert earned == EARNED[student]
        assert grades["09-why"].max_score == 1
        # an open answer waits for a person where there is one to read
        assert grades["09-why"].needs_manual_grade == (student is reference)


@needs_nbgrader
def test_the_release_gives_nothing_away(course):
    written = "".join(
        path.read_text(encoding="utf-8") for path in (course / "release").rglob("*") if path.is_file()
    )
    for line in [
        *DOUBLE.splitlines()[3:-1],
        *SECRET.splitlines()[2:-1],
        REFERENCE,
        BEGIN,
        END,
        "Only teachers",
    ]:
        assert line.strip() not in written, line
    notebook = released(course)
    assert cell(notebook, "09-why", "open-answer").source == editions.TEXT_STUB
    assert CODE_STUB in cell(notebook, "09-double", "answer").source
    assert "raises-exception" not in written


@needs_nbgrader
def test_the_teachers_folder_is_private_and_the_release_complete(course):
    assert {path.name for path in (course / "release" / NAME).iterdir()} == {FILE, "check_fixture.py"}
    assert (course / "gradebook.db").exists()
    assert "return twice" in (course / "source" / NAME / FILE).read_text(encoding="utf-8")
    assert "Only teachers" in (course / "source" / NAME / FILE).read_text(encoding="utf-8")


@needs_nbgrader
def test_the_class_seed_stands_where_it_must(course):
    notebook = released(course)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert f"CLASS_SEED = {SEED}  # your class's number" in sources[0]
    assert cell(notebook, "09-secret", "check").source == f"check.secret(secret, seed={SEED})"
    locked = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("locked")]
    assert notebook.cells[1] in locked and len(locked) == 3  # the setup and two checks


@needs_nbgrader
def test_a_second_release_keeps_what_the_teacher_changed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        editions, "_nbgrader", lambda course, *command: None
    )  # what it reads is looked at here
    root = course_fixture.course(tmp_path / "clone")
    made = editions.release(tmp_path / "class", SEED, root=root)
    source = made / "source" / NAME / FILE
    source.write_text(source.read_text(encoding="utf-8").replace("The story", "My story"), encoding="utf-8")
    editions.release(made, SEED, root=root)
    assert capsys.readouterr().out == ""
    editions.release(made, SEED + 1, root=root)  # the lesson is new, and so is the teacher's version of it
    assert f"changed/source/{NAME}/{FILE}" in capsys.readouterr().out
    assert "My story" in source.read_text(encoding="utf-8")
    assert f"CLASS_SEED = {SEED + 1}" in (made / "changed" / "source" / NAME / FILE).read_text(
        encoding="utf-8"
    )
    assert {path.name for path in (made / "source" / NAME).glob("*.ipynb")} == {
        FILE
    }  # else nbgrader takes both


@needs_nbgrader
def test_what_nbgrader_refuses_is_passed_on(tmp_path):
    root = course_fixture.course(tmp_path / "clone")
    path = root / "lessons" / FILE
    path.write_text(
        path.read_text(encoding="utf-8").replace('"09-secret-check"', '"09-double-check"'), "utf-8"
    )
    with pytest.raises(
        RuntimeError,
        match="(?s)`nbgrader generate_assignment . --force` failed.*metadata may be corrupted",
    ):
        editions.release(tmp_path / "class", SEED, root=root)


def test_the_seed_changes_the_number_that_is_asked_for(tmp_path, monkeypatch):
    """The reference is right with each seed; the published number is right with seed 0 alone."""
    root = course_fixture.course(tmp_path)
    monkeypatch.syspath_prepend(root / "lessons")
    numbers = {}
    for seed in (0, SEED):
        names: dict = {}
        notebook = (
            editions.release_edition(course_fixture.lesson(), seed, NAME) if seed else course_fixture.lesson()
        )
        for source in (notebook.cells[1].source, SECRET, cell(notebook, "09-secret", "check").source):
            exec(source, names)
        numbers[seed] = names["secret"]
    assert PUBLISHED == f"secret = {numbers[0]}" and numbers[SEED] != numbers[0]


@pytest.mark.parametrize("seed", [0, -3])
@needs_nbgrader
def test_a_seed_everybody_knows_is_refused(tmp_path, seed):
    with pytest.raises(ValueError, match=f"should be 1 or more, got {seed}"):
        editions.release(tmp_path, seed)


@needs_nbgrader
def test_a_class_without_a_seed_gets_one_and_keeps_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(editions, "_nbgrader", lambda course, *command: None)
    root, made = course_fixture.course(tmp_path / "clone"), tmp_path / "class"
    said = set()
    for _ in range(2):
        assert editions.main(["release", str(made), "--root", str(root)]) == 0
        said.add(capsys.readouterr().out)
    assert len(said) == 1
    seed = int(re.search(r"class seed (\d+):", said.pop())[1])
    assert 1 <= seed <= 9999
    assert f"CLASS_SEED = {seed} " in (made / "source" / NAME / FILE).read_text(encoding="utf-8")
    (made / "class_seed.txt").write_text("seven", encoding="utf-8")
    with pytest.raises(ValueError, match="should hold the class seed, a whole number, got 'seven'"):
        editions.release(made, root=root)
    editions.release(made, SEED, root=root)
    assert (made / "class_seed.txt").read_text(encoding="utf-8") == f"{SEED}\n"
    assert f"CLASS_SEED = {SEED} " in (made / "source" / NAME / FILE).read_text(encoding="utf-8")


def test_without_nbgrader_a_sentence_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert editions.main(["release", str(tmp_path), "--class-seed", "7"]) == 1
    assert capsys.readouterr().err == (
        'editions: a release needs nbgrader: install it with `pip install -e ".[instructor]"`\n'
    )
    assert not re.search(r"\.", "".join(path.name for path in tmp_path.iterdir()))

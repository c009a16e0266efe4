"""One nbgrader course from the fixture lesson: who earns what, and what the release gives away."""

import csv
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import course_fixture
import nbformat
import pytest
from course_fixture import DOUBLE, NAME, REFERENCE, SECRET
from nbformat.v4 import new_code_cell, new_notebook

from minigrok.course import _kernel, editions
from minigrok.course.cells import BEGIN, CODE_STUB, END, digest, exercises, part

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


def disguised(notebook):
    """Right answers, but cells have gone and lost their labels; one label would end nbgrader's whole run."""
    reference(notebook)
    first, second = cell(notebook, "09-double", "check"), cell(notebook, "09-secret", "check")
    first.metadata["nbgrader"], second.metadata["nbgrader"]["schema_version"] = "none", 99
    notebook.cells.pop(1)  # the setup, and with it the class's seed


EARNED = {  # of 09-double and 09-secret; marked in the order of the names
    reference: (2, 3),
    blank: (0, 0),
    hard_coded: (0, 0),
    edited: (0, 0),
    disguised: (2, 3),
}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A release, a few submissions, and nbgrader's marks for them."""
    folder = tmp_path_factory.mktemp("grading")
    root = course_fixture.course(folder / "clone")
    made = editions.release(folder / "class", SEED, root=root)
    for student in EARNED:
        handed_in = made / "submitted" / student.__name__ / NAME
        shutil.copytree(made / "release" / NAME, handed_in)
        notebook = nbformat.read(handed_in / FILE, as_version=4)
        student(notebook)
        (handed_in / FILE).write_text(json.dumps(notebook), encoding="utf-8")
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
        assert grades["09-why"].needs_manual_grade == (student in (reference, disguised))


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
    assert sources[0] == editions.COLAB and f"CLASS_SEED = {SEED}  # your class's number" in sources[1]
    assert cell(notebook, "09-secret", "check").source == f"check.secret(secret, seed={SEED})"
    locked = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("locked")]
    assert notebook.cells[2] in locked and len(locked) == 4  # the setup, what exercises need, and two checks


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
        setup = next(cell for cell in notebook.cells if part(cell) == "setup")
        for source in (setup.source, SECRET, cell(notebook, "09-secret", "check").source):
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


@needs_nbgrader
def test_a_grader_has_the_questions_and_the_reference_answers(course):
    text = (course / "references" / f"{NAME}.md").read_text(encoding="utf-8")
    assert "### Exercise 9.3: Why one source" in text and REFERENCE in text and "Twice" not in text


# ---- what was handed out ----------------------------------------------------------------------------------


def labels(notebook):
    """The ids by which nbgrader knows the cells, in their order; None where it knows none."""
    return [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]


@needs_nbgrader
def test_a_notebook_that_was_not_touched_stays_as_it_is(course):
    from minigrok.course.grading import restore

    notebook = released(course)
    restore(notebook, released(course))
    assert notebook == released(course)


@needs_nbgrader
@pytest.mark.parametrize("gone", [[0], [-1], [0, 1], [2, 3], [0, 1, 2, 3, 4, 5, 6]], ids=str)
def test_cells_that_are_gone_come_back_where_they_stood(course, gone):
    from minigrok.course.grading import restore

    notebook = released(course)
    known = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert len(known) == 7
    notebook.cells = [cell for cell in notebook.cells if all(cell is not known[index] for index in gone)]
    restore(notebook, released(course))
    due = [label for label in labels(released(course)) if label]
    assert [label for label in labels(notebook) if label] == due
    back = {cell.id: cell for cell in released(course).cells}
    assert all(cell == back[cell.id] for cell in notebook.cells)


@needs_nbgrader
def test_who_has_worked_in_the_workbook_may_hand_that_in(course):
    from minigrok.course.grading import restore

    notebook = editions.workbook_edition(course_fixture.lesson(), NAME)
    reference(notebook)
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
    restore(notebook, released(course))
    assert [label for label in labels(notebook) if label] == [x for x in labels(released(course)) if x]
    check = exercises(notebook)["09-secret"]["check"]
    assert check.metadata.nbgrader.points == 3 and check.metadata.nbgrader.locked
    assert "generator.randrange" in exercises(notebook)["09-secret"]["answer"].source


@needs_nbgrader
def test_of_copies_the_last_counts_and_no_other_label_is_believed(course):
    from minigrok.course.grading import restore

    notebook = released(course)
    copy = nbformat.from_dict(exercises(notebook)["09-double"]["answer"])
    copy.source, copy.metadata.nbgrader["schema_version"] = "my second try", 1
    stray = code("1", grade_id="mine", grade=True, points=50, locked=False, solution=False)
    odd = code("2", grade_id=["a", "list"])
    notebook.cells += [copy, stray, odd]
    restore(notebook, released(course))
    assert labels(notebook)[-3:] == ["09-double", None, None]
    assert labels(notebook).count("09-double") == 1 and copy.metadata.nbgrader.schema_version == 3


# ---- what is run ------------------------------------------------------------------------------------------


def code(source, story=False, **nbgrader):
    metadata = {"minigrok": {"story": digest(source)}} if story else {}
    return new_code_cell(source, metadata=metadata | ({"nbgrader": nbgrader} if nbgrader else {}))


LOCKED = {"locked": True, "solution": False, "grade": False}
TOLD = ["import numpy as np", "net = np.ones(3)", "def show(x):\n    return x"]


@needs_nbgrader
@pytest.mark.parametrize(
    "own, whole",
    [
        ("answer = data + 1", False),
        ("net = data\nanswer = net", False),  # a name of its own that the story has too
        ("def answer(net):\n    return [show for show in net]", False),
        ("%matplotlib inline\nnet", False),  # no Python: nothing can be told, and nothing is lost by it
        ("answer = net", True),
        ("def answer(x):\n    return show(x)", True),
        ("answer = [lambda: np.sum(data)]", True),
    ],
)
def test_the_story_is_run_where_an_answer_uses_it(own, whole):
    from minigrok.course.grading import story

    cells = [code("data = 1", **LOCKED), *(code(source, story=True) for source in TOLD), code(own)]
    left_out = story(new_notebook(cells=cells))
    assert [cell.source for cell in left_out] == ([] if whole else TOLD)


@needs_nbgrader
def test_a_cell_of_the_story_that_was_changed_is_run():
    from minigrok.course.grading import story

    cells = [code(source, story=True) for source in TOLD]
    cells[2].source = "def show(x):\n    return 2 * x"
    assert story(new_notebook(cells=[*cells, code("answer = show(1)")])) == cells[:2]
    cells[2].source = "def show(x):\n    return np.ones(x)"
    assert story(new_notebook(cells=cells)) == []


RUN = [
    ("data = 1", {**LOCKED, "grade_id": "09-setup"}),
    ("told = 1 / 0", "story"),
    ("print('x' * 2_000_000)\nprint('the end')", {}),
    ("print('✓ right')", {"grade": True, "grade_id": "09-a-check"}),
    ("print('nothing')", {"grade": True, "grade_id": "09-b-check"}),
    ("while True: pass", {"grade": True, "grade_id": "09-c-check"}),
    ("1 / 0", {"grade": True, "grade_id": "09-d-check"}),
    ("print('✓', flush=True)\nimport os; os._exit(0)", {"grade": True, "grade_id": "09-e-check"}),
    ("print('✓ right')", {"grade": True, "grade_id": "09-f-check"}),
]


@needs_nbgrader
def test_how_a_notebook_is_run(tmp_path):
    """Output without end, a loop, a check that says nothing, a kernel that dies."""
    from nbgrader.preprocessors import Execute, SaveAutoGrades
    from nbgrader.utils import determine_grade

    from minigrok.course.grading import ExecuteLesson, steps

    assert steps([Execute, SaveAutoGrades]) == [ExecuteLesson, SaveAutoGrades]
    cells = [
        code(source, story=True)
        if told == "story"
        else code(source, **({**told, "points": 2} if told else {}))
        for source, told in RUN
    ]
    cells[3].metadata["tags"] = ["skip-execution"]  # by a hopeful student, who also asks not to be run below
    cells[6].metadata["tags"] = ["skip-execution"]
    notebook = new_notebook(cells=cells)
    before = dict(os.environ)
    ExecuteLesson(timeout=3).preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    assert os.environ == before
    said = ["".join(output.get("text", output.get("ename", "")) for output in cell.outputs) for cell in cells]
    assert "not run for the marks" in said[1] and len(said[2]) < 2_000_100
    marks = [determine_grade(cell)[0] for cell in cells[3:]]
    assert marks == [2, 0, 0, 0, 0, 0]
    assert "NoResult" in said[4] and "KeyboardInterrupt" in said[5] and "ZeroDivisionError" in said[6]
    assert "DeadKernelError" in said[7] and said[8] == "DeadKernelError"
    assert all("skip-execution" not in cell.metadata["tags"] for cell in cells)


@needs_nbgrader
def test_a_kernel_that_cannot_start_is_no_mark(tmp_path, monkeypatch):
    """Too little memory to begin with is the grader's mistake, not the submission's."""
    from traitlets.config import Config

    from minigrok.course.grading import ExecuteLesson

    config = Config({"LessonKernelManager": {"sandbox": "none", "memory": 0.001}})
    notebook = new_notebook(cells=[code("1", grade=True, grade_id="09-a-check", points=1)])
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))  # one of those that the kernel gets another value of
    before = dict(os.environ)
    with pytest.raises(RuntimeError, match="Kernel died before replying"):
        ExecuteLesson(config=config).preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    assert os.environ == before


def test_checks_that_were_changed_are_put_back():
    from types import ModuleType

    module, names = ModuleType("lesson"), {}
    module.answer = original = lambda value: "no"
    before_a_cell = _kernel.keep_checks(names)
    before_a_cell(None)
    names["check"] = module
    before_a_cell(None)  # the setup cell has run
    module.answer = lambda value: "yes"
    names["check"] = None
    before_a_cell(None)
    assert names["check"] is module and module.answer is original


# ---- limits, tripwire, sandbox ----------------------------------------------------------------------------


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux holds these limits")


@pytest.fixture
def hook(tmp_path):
    for name in ("own", "library", "others"):
        (tmp_path / name).mkdir()
    return _kernel.tripwire([tmp_path / "library"], [tmp_path / "own"])


def test_the_tripwire_lets_a_submission_work(hook, tmp_path):
    own, library = str(tmp_path / "own" / "a"), str(tmp_path / "library" / "a")
    for event in [
        *(("open", (path, mode, 0)) for path, mode in [(own, "r"), (own, "w"), (library, "r"), (3, "w")]),
        *(("open", (own, None, os.O_RDWR | os.O_CREAT)), ("open", (library, None, os.O_RDONLY))),
        *(("os.listdir", (library,)), ("os.listdir", (None,)), ("os.mkdir", (own, 0o777, -1))),
        *(("os.rename", (own, own + "b", -1, -1)), ("sqlite3.connect", (":memory:",)), ("import", ("x",))),
        ("os.kill", (os.getpid(), signal.SIGINT)),
    ]:
        hook(*event)


@pytest.mark.parametrize(
    "event, arguments",
    [
        ("open", ("{others}/a", "r", 0)),
        ("open", ("{own}/../others/a", "r", 0)),
        ("open", (b"{others}/a", "r", 0)),
        ("open", ("{own}-of-another", "r", 0)),
        ("open", ("{library}/a", "a", 0)),
        ("open", ("{library}/a", None, os.O_WRONLY)),
        ("os.listdir", ("{others}",)),
        ("os.remove", ("{library}/a", -1)),
        ("os.rename", ("{own}/a", "{others}/a", -1, -1)),
        ("sqlite3.connect", ("{others}/gradebook.db",)),
        ("socket.connect", (None, ("127.0.0.1", 80))),
        ("socket.getaddrinfo", ("localhost", 80, 0, 0, 0)),
        ("subprocess.Popen", ("ls", ["ls"], None, None)),
        ("os.system", (b"ls",)),
        ("os.fork", ()),
        ("os.kill", (1, signal.SIGINT)),
        ("os.kill", (os.getpid(), signal.SIGTERM)),
    ],
)
def test_the_tripwire_says_no(hook, tmp_path, event, arguments):
    def fill(value):
        if isinstance(value, bytes):
            return fill(value.decode()).encode()
        return value.format(**{p.name: p for p in tmp_path.iterdir()}) if isinstance(value, str) else value

    with pytest.raises(PermissionError, match="works in its own folder, without network and other programs"):
        hook(event, tuple(map(fill, arguments)))


def test_the_tripwire_follows_links(hook, tmp_path):
    (tmp_path / "own" / "link").symlink_to(tmp_path / "others")
    with pytest.raises(PermissionError):
        hook("open", (str(tmp_path / "own" / "link" / "a"), "r", 0))


def python(code, *before, cwd=None):
    command = [*before, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60)


@on_linux
@pytest.mark.parametrize(
    "limit, code, said",
    [
        ("memory=2**28", "bytearray(2**30)", "MemoryError"),
        ("file=1000", "with open('big', 'wb') as file: file.write(b'x' * 5000)", "File too large"),
        ("cpu=1", "while True: pass", ""),
    ],
)
def test_the_system_holds_the_limits(tmp_path, limit, code, said):
    source = Path(_kernel.__file__).read_text(encoding="utf-8").partition("def tripwire")[0]
    source = source.replace("from minigrok.course import exercises", "")  # limits are quick to set without it
    run = python(f"{source}\nlimit({limit})\n{code}", cwd=tmp_path)
    assert run.returncode != 0 and said in run.stderr
    if not said:
        assert run.returncode in (-signal.SIGKILL, -signal.SIGXCPU)


TRY = """
import ctypes, os, socket
libc = ctypes.CDLL(None)  # no audit hook sees what it does
print("file", libc.open({secret!r}.encode(), 0) >= 0)
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=5)
    print("network True")
except OSError:
    print("network False")
print("own", open("own.txt", "w").write("x") == 1)
"""


@needs_nbgrader
@on_linux
@pytest.mark.parametrize("kind, file", [("none", True), ("network", True), ("bubblewrap", False)])
def test_what_a_sandbox_holds_without_a_tripwire(tmp_path, kind, file):
    """The real boundary, tried from below Python."""
    import socket

    from minigrok.course.grading import sandbox_command

    (tmp_path / "secret").write_text("of the teacher")
    (tmp_path / "own").mkdir()
    before = sandbox_command(kind, [str(tmp_path / "own")])
    if before and (not shutil.which(before[0]) or subprocess.run([*before, "true"]).returncode):
        pytest.skip(f"{before[0]} does not work on this machine")
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = TRY.format(secret=str(tmp_path / "secret"), port=server.getsockname()[1])
        run = python(code, *before, cwd=tmp_path / "own")
    assert run.stdout.split("\n")[:3] == [f"file {file}", f"network {kind == 'none'}", "own True"], run.stderr


def test_packages_of_the_user_are_seen_and_the_course_is_not(monkeypatch, tmp_path):
    of_user = str(tmp_path / ".local" / "lib" / "site-packages")
    monkeypatch.setattr(sys, "path", [str(tmp_path), of_user, *sys.path])
    seen = _kernel.of_python()
    assert of_user in seen and str(tmp_path) not in seen and sys.prefix in seen


@needs_nbgrader
def test_the_machine_says_what_holds_a_submission(monkeypatch, capsys):
    from minigrok.course import grading

    for kind in ("bubblewrap", "network", "none"):
        monkeypatch.setattr(grading, "best_sandbox", lambda kind=kind: kind)
        assert grading.main(["sandbox"]) == 0
        assert capsys.readouterr().out.startswith(f"{kind}: a submission has ")


# ---- marks for other platforms ----------------------------------------------------------------------------


@pytest.fixture
def exported(course, tmp_path):
    """The lines of the marks for a platform, and what was said; with names for one of the students."""
    from nbgrader.api import Gradebook

    from minigrok.course.grading import main

    who = {
        "first_name": "Ada",
        "last_name": "King, Countess",
        "email": "ada@example.org",
        "lms_user_id": "815",
    }
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        book.update_or_create_student("reference", **who)
        book.update_or_create_student("absent")

    def export(platform, *more):
        to = tmp_path / "marks.csv"
        assert main(["export", "--for", platform, "--course", str(course), "--to", str(to), *more]) == 0
        with to.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    return export


@needs_nbgrader
def test_moodle_finds_its_columns(exported, capsys):
    head, *lines = exported("moodle")
    assert head == ["First name", "Last name", "ID number", "Email address", NAME]  # those of its own export
    by_id = {line[2]: line for line in lines}
    assert by_id["reference"] == ["Ada", "King, Countess", "reference", "ada@example.org", "5"]
    assert by_id["blank"][4] == "0" and by_id["absent"][4] == "-"  # a dash is no mark, to Moodle
    said = capsys.readouterr().out
    waiting = f"{NAME} of disguised, reference"
    assert f"wait for a person, and count 0 where none has been: {waiting}\n" in said
    assert "no e-mail address is known of absent, blank, disguised, edited, hard_coded, and Moodle" in said
    # an empty address would be the student of the line before, to some versions of Moodle
    assert {line[3] for line in lines} == {"ada@example.org", "unknown"}


@needs_nbgrader
def test_canvas_finds_its_columns(exported):
    head, possible, *lines = exported("canvas")
    # what Canvas's importer looks for: these names in this order, Section the last before the assignments
    assert (
        "Student" in head[0] and "ID" in head[1] and head[2:5] == ["SIS User ID", "SIS Login ID", "Section"]
    )
    assert "Points Possible" in possible[0] and possible[5] == "6"
    by_login = {line[3]: line for line in lines}
    assert by_login["reference"] == ["King, Countess, Ada", "815", "", "reference", "", "5"]
    assert by_login["absent"] == ["absent", "", "", "absent", "", ""]
    assert {len(line) for line in [head, possible, *lines]} == {6}


@needs_nbgrader
def test_a_plain_table_has_sums(exported):
    head, *lines = exported("csv", "--lessons", "9")
    rows = {line[0]: dict(zip(head, line, strict=True)) for line in lines}
    assert rows["reference"][NAME] == rows["reference"]["sum"] == "5" and rows["reference"]["of"] == "6"
    assert rows["absent"][NAME] == "" and rows["absent"]["sum"] == "0"


@needs_nbgrader
@pytest.mark.parametrize(
    ("platform", "names", "students"),
    [
        (
            "MOODLE",
            [
                "Ada King_31_assignsubmission_file/mine.ipynb",
                "Émile_32_assignsubmission_file_/a_1_2_b.ipynb",
                "van der Waerden_33_assignsubmission_file_09_fixture (2).ipynb",
                "Ada King_31_assignsubmission_onlinetext/onlinetext.html",
            ],
            ["Ada King", "van der Waerden", "Émile"],
        ),
        (
            "CANVAS",
            ["kingada_815_70001_mine.ipynb", "waerden_LATE_816_70002_09_fixture-1.ipynb"],
            ["815", "816"],
        ),
    ],
    ids=["moodle", "canvas"],
)
def test_the_zip_of_a_platform_is_sorted_by_student(course, tmp_path, platform, names, students):
    """Names as the code of both platforms makes them; what students called their file is of no account."""
    config = (course / "nbgrader_config.py").read_text(encoding="utf-8")
    chosen = config.replace("named_regexp = MOODLE", f"named_regexp = {platform}")
    (tmp_path / "nbgrader_config.py").write_text(chosen, encoding="utf-8")
    shutil.copytree(course / "release", tmp_path / "release")
    archive = tmp_path / "downloaded" / NAME / "archive"
    archive.mkdir(parents=True)
    with zipfile.ZipFile(archive / "course-lesson.zip", "w") as packed:
        for name in names:
            packed.writestr(name, "{}")
    nbgrader(tmp_path, "zip_collect", NAME)
    came = [path.relative_to(tmp_path / "submitted") for path in tmp_path.glob("submitted/*/*/*")]
    assert sorted(came) == [Path(student, NAME, FILE) for student in students]


@needs_nbgrader
def test_marks_of_a_lesson_that_is_not_there_are_refused(course, tmp_path, capsys):
    from minigrok.course.grading import main

    to = tmp_path / "marks.csv"
    assert main(["export", "--for", "csv", "--course", str(course), "--to", str(to), "--lessons", "8"]) == 1
    assert capsys.readouterr().err == "grading: the gradebook has no lesson 08\n" and not to.exists()


@needs_nbgrader
def test_what_could_not_be_marked_does_not_wait_for_a_person(exported, course, capsys):
    from nbgrader.api import Gradebook

    for student, name, text in (("torn", FILE, '{"cells": ['), ("renamed", "mine.ipynb", "{}")):
        handed_in = course / "submitted" / student / NAME / name
        handed_in.parent.mkdir(parents=True)
        handed_in.write_text(text, encoding="utf-8")
    marking = [sys.executable, "-m", "nbgrader", "autograde", NAME, "--create"]
    assert subprocess.run(marking, cwd=course, capture_output=True).returncode == 1
    lines = {line[0]: line for line in exported("csv")}
    said = capsys.readouterr().out
    for student in ("torn", "renamed"):
        shutil.rmtree(course / "submitted" / student)
        with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
            book.remove_student(student)
        assert lines[student][4] == "0"
    assert f"where none has been: {NAME} of disguised, reference\n" in said
    assert f"not marked, 0 points: {NAME} of renamed, torn; `nbgrader autograde LESSON` says why\n" in said


@needs_nbgrader
def test_lateness_is_deducted_but_no_mark_is_negative():
    from types import SimpleNamespace as Thing

    from minigrok.course.grading import marks

    handed_in = Thing(score=2.5, late_submission_penalty=1.25, needs_manual_grade=False, notebooks=[])
    student = Thing(id="a", first_name=None, last_name=None, email=None, lms_user_id=None)
    given = [Thing(name="02_b", max_score=4.0), Thing(name="01_a", max_score=3.0)]
    book = Thing(assignments=given, students=[student], find_submission=lambda lesson, student: handed_in)
    most, (row,), waiting, unmarked = marks(book)
    assert list(most) == ["01_a", "02_b"] and row.points == {"01_a": 1.25, "02_b": 1.25}
    assert not waiting and not unmarked
    handed_in.late_submission_penalty = 9.0
    assert marks(book, ["02"])[1][0].points == {"02_b": 0.0}


@needs_nbgrader
def test_a_folder_without_marks_is_said(tmp_path, capsys):
    from minigrok.course.grading import main

    assert main(["export", "--for", "csv", "--course", str(tmp_path)]) == 1
    assert "gradebook.db: give the course's folder with --course" in capsys.readouterr().err

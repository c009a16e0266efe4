"""The editions of a lesson: nothing leaks, an untouched workbook runs to its end, no work is lost."""

import copy
import json
import os
import re
import subprocess
import sys

import course_fixture
import nbclient
import nbformat
import pytest
from course_fixture import DOUBLE, NAME, REFERENCE, SECRET
from hypothesis import given
from hypothesis import strategies as st

from minigrok import recordings
from minigrok.course import citations, editions, sync
from minigrok.course.cells import BEGIN, CODE_STUB, END, exercises, part, tags

FILE = f"{NAME}.ipynb"


@pytest.fixture
def root(tmp_path):
    return course_fixture.course(tmp_path / "clone")


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "workbook"


def read(path):
    return nbformat.read(path, as_version=4)


def text_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


def rewrite(path, change):
    """Let a learner (or an author) change the notebook at `path`."""
    notebook = read(path)
    change(notebook)
    nbformat.write(notebook, path)


def actions(outcomes, name=FILE):
    return [outcome.action for outcome in outcomes if outcome.name == name]


# ---- solutions are removed --------------------------------------------------------------------------------


def test_a_solution_becomes_one_line_with_its_indent():
    assert editions.remove_solution(DOUBLE).splitlines() == [
        "def double(values):",
        '    """Each of the values, twice."""',
        f"    {CODE_STUB}",
    ]
    assert editions.remove_solution(SECRET) == f"secret = None\n{CODE_STUB}"


LINES = st.lists(st.sampled_from(["x = 1", "    y = 2", "", "# END", "    if x:"]), max_size=4)


@given(st.lists(st.tuples(LINES, LINES), max_size=4), LINES)
def test_any_number_of_solutions_is_removed_and_nothing_else(blocks, tail):
    source, kept = [], []
    for before, solution in blocks:
        source += [*before, f"  {BEGIN}", *solution, f"  {END}"]
        kept += [*before, f"  {CODE_STUB}"]
    assert editions.remove_solution("\n".join([*source, *tail])) == "\n".join([*kept, *tail])


@pytest.mark.parametrize(
    "lines, text",
    [
        ([BEGIN, "x"], "`### BEGIN SOLUTION` on line 1 is never closed"),
        (["x", END], "`### END SOLUTION` on line 2 closes nothing"),
        ([BEGIN, "x", BEGIN, END], "on line 3, but the one on line 1 is still open"),
        ([BEGIN, END, END], "on line 3 closes nothing"),
    ],
)
def test_markers_that_do_not_pair_up_are_told(root, dest, lines, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        editions.remove_solution("\n".join(lines))
    path = root / "lessons" / FILE
    rewrite(path, lambda notebook: exercises(notebook)["09-double"]["answer"].update(source="\n".join(lines)))
    where = rf"{NAME}, cell \d+ \(exercise 09-double\): "
    for edition in (editions.workbook, editions.book):
        with pytest.raises(ValueError, match=where):
            edition(dest, root=root)
    with pytest.raises(ValueError, match=where):
        editions.release_edition(read(path), 7, NAME)
    assert not dest.exists()  # nothing half done


def test_an_answer_without_markers_is_not_handed_out(root, dest):
    rewrite(root / "lessons" / FILE, lambda n: exercises(n)["09-double"]["answer"].update(source="x = 1"))
    with pytest.raises(ValueError, match="its solution would be handed out"):
        editions.workbook(dest, root=root)


def test_the_workbook_leaks_nothing(root, dest):
    editions.workbook(dest, root=root)
    written = "".join(path.read_text(encoding="utf-8") for path in dest.rglob("*") if path.suffix == ".ipynb")
    for line in [
        *DOUBLE.splitlines()[3:-1],
        *SECRET.splitlines()[2:-1],
        REFERENCE,
        BEGIN,
        END,
        "Only teachers",
    ]:
        assert line.strip() not in written, line


def test_the_workbook_has_stubs_and_placeholders():
    lesson = course_fixture.lesson()
    before = copy.deepcopy(lesson)
    workbook = editions.workbook_edition(lesson, NAME)
    assert lesson == before  # the teacher's edition is not touched
    found = exercises(workbook)
    assert found["09-why"]["open-answer"].source == editions.TEXT_STUB
    assert CODE_STUB in found["09-double"]["answer"].source
    assert {part(cell) for cell in workbook.cells if "raises-exception" in tags(cell)} == {"answer", "check"}
    assert [cell.metadata.get("nbgrader") for cell in workbook.cells if "nbgrader" in cell.metadata] == [
        cell.metadata.nbgrader for cell in lesson.cells if "nbgrader" in cell.metadata
    ]
    assert any("widget" in tags(cell) for cell in workbook.cells)


def test_an_untouched_workbook_runs_to_its_end(root, dest):
    editions.workbook(dest, root=root)
    notebook = read(dest / FILE)
    nbclient.execute(notebook, cwd=str(dest))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    for cell in code:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert [error.ename for error in errors] == ["ExerciseError"] * (part(cell) == "check")
        assert all(
            len(error.traceback) == 1 and error.traceback[0].startswith("Not yet: ") for error in errors
        )


@pytest.mark.parametrize(
    "edition", [editions.workbook_edition, lambda lesson, name: editions.release_edition(lesson, 7, name)]
)
def test_what_learners_get_installs_the_course_on_colab_and_only_there(edition):
    cells = [cell for cell in edition(course_fixture.lesson(), NAME).cells if cell.cell_type == "code"]
    assert cells[0].source == editions.COLAB and part(cells[1]) == "setup"
    assert cells[0].metadata.jupyter.source_hidden
    lines = cells[0].source.splitlines()
    assert [line for line in lines[3:] if not line.startswith("    ")] == [
        'if "google.colab" in sys.modules:'
    ]


def test_the_book_installs_nothing():
    assert "colab" not in text_of(editions.book_edition(course_fixture.lesson(), NAME))


# As Colab opens a notebook: in an empty folder, the first cell run twice; pip and the network are not asked.
OPENED = """
import json, sys
from pathlib import Path
from types import ModuleType
from IPython.core.interactiveshell import InteractiveShell

cell, content, colab = sys.argv[1:]
if colab == "yes":
    sys.modules["google.colab"] = ModuleType("google.colab")
shell, asked = InteractiveShell.instance(), []
shell.register_magic_function(asked.append, magic_name="pip")
for run in range(2):
    result = shell.run_cell(cell.replace("/content", content))
    assert result.success
    if run == 0 and colab == "yes":
        Path("mine.txt").touch()
files = sorted(path.name for path in Path().iterdir())
print(json.dumps({"asked": asked, "folder": str(Path.cwd()), "files": files}))
"""


def opened(tmp_path, colab: str) -> dict:
    """What the workbook's first cell does in a new folder; git finds the published branch on this machine."""
    published, content = tmp_path / "published", tmp_path / "content"
    content.mkdir()
    fetch = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": editions.REPOSITORY}
    fetch["GIT_CONFIG_KEY_0"] = f"url.{published.as_uri()}.insteadOf"
    command = [sys.executable, "-c", OPENED, editions.COLAB, str(content), colab]
    env = {**os.environ, **fetch, "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run(command, cwd=content, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(
    os.name == "nt", reason="Colab's machines are Linux, and the cell speaks their shell's words"
)
def test_the_cell_for_colab_can_run_twice(root, tmp_path):
    editions.workbook(tmp_path / "published", root=root)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (
        ["init", "-q", "-b", "workbook"],
        ["add", "."],
        [*author, "commit", "-q", "-m", "published"],
    ):
        subprocess.run(["git", *words], cwd=tmp_path / "published", check=True, capture_output=True)
    after = opened(tmp_path, "yes")
    assert after["asked"] == [f'install --quiet "minigrok[course] @ git+{editions.REPOSITORY}"'] * 2
    assert after["folder"] == str((tmp_path / "content" / "lessons").resolve())
    assert {FILE, "check_fixture.py", "recordings", "mine.txt"} <= set(
        after["files"]
    )  # fetched once: work is kept


def test_the_cell_for_colab_does_nothing_elsewhere(tmp_path):
    folder = str((tmp_path / "content").resolve())
    assert opened(tmp_path, "no") == {"asked": [], "folder": folder, "files": []}


def test_the_repository_is_that_of_the_book():
    config = (editions.ROOT / "_config.yml").read_text(encoding="utf-8")
    assert re.search(rf"{re.escape(editions.REPOSITORY)}\s", config)


def test_lab_shows_citations_in_words(root, dest, tmp_path):
    editions.workbook(dest, root=root)
    assert read(dest / FILE).cells[-1].source == "## References\n\nTan and Huang (2023) and {cite}`unknown`"
    book = editions.book(tmp_path / "book", root=root)
    assert (
        "{cite:t}`tan2023`" in read(book / "lessons" / FILE).cells[-1].source
    )  # the book makes links of them
    (root / "book" / "references.bib").unlink()
    assert actions(editions.workbook(dest, root=root)) == ["updated"]


def test_the_bibliography_of_the_course_can_be_read():
    """Against a plain count: each entry has authors, a year of four digits, and no TeX left in the names."""
    text = (editions.ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    references = citations.read_references(text)
    assert len(references) == len(re.findall(r"(?m)^@", text)) > 0
    for key, reference in references.items():
        assert re.fullmatch(r"[^{}\\]{2,}", reference.authors), key
        assert re.fullmatch(r"\d{4}", reference.year), key


@pytest.mark.parametrize(
    "text, shown",
    [
        ("{cite:t}`a,b`", "[A and B (2020)](https://arxiv.org/abs/1), C et al. (2021)"),
        ("{cite:p}`a, b`", "([A and B, 2020](https://arxiv.org/abs/1); C et al., 2021)"),
        ("{cite}`b`", "(C et al., 2021)"),
        ("{cite}`a,nobody`", "{cite}`a,nobody`"),
        ("{term}`local complexity <complexity>` and {index}`sheet`", "local complexity and sheet"),
        ("`{cite}` and $x$", "`{cite}` and $x$"),
    ],
)
def test_roles_in_words(text, shown):
    entries = "@misc{a,\n author={A, X and B, Y}, year={2020}, eprint={1}}\n"
    entries += (
        "@book{b,\n author={C, X and D, Y and {E, {\\v{Z}}}}, title={A {T} of {E{{x}}}}, year={2021}\n}\n"
    )
    assert citations.plain(text, citations.read_references(entries)) == shown


def test_helper_files_come_along_and_caches_do_not(root, dest):
    editions.workbook(dest, root=root)
    found = {path.relative_to(dest).as_posix() for path in dest.rglob("*") if path.is_file()}
    assert found == {FILE, "check_fixture.py", "recordings/other.npz", sync.MANIFEST}


# ---- learners' work is kept -------------------------------------------------------------------------------


def learner(notebook):
    exercises(notebook)["09-double"][
        "answer"
    ].source = "def double(values):\n    return [2 * v for v in values]"


def author(notebook):
    notebook.cells[2].source = "## The story, told better"


def run_it(notebook):
    for cell in notebook.cells:
        cell.metadata["collapsed"] = True
        if cell.cell_type == "code":
            cell.execution_count = 3
            cell.outputs = [nbformat.v4.new_output("stream", text="hello")]
    notebook.metadata["widgets"] = {}
    notebook.cells.append(nbformat.v4.new_code_cell(""))  # as Lab does below the last cell


def test_first_run_and_second_run(root, dest):
    assert set(actions(editions.workbook(dest, root=root))) == {"new"}
    before = {path: path.stat().st_mtime_ns for path in dest.rglob("*.*") if path.name != sync.MANIFEST}
    assert {outcome.action for outcome in editions.workbook(dest, root=root)} == {"same"}
    assert {path: path.stat().st_mtime_ns for path in before} == before  # not even written


def test_neither_has_changed_though_it_was_run(root, dest):
    editions.workbook(dest, root=root)
    rewrite(dest / FILE, run_it)
    ran = (dest / FILE).read_bytes()
    assert actions(editions.workbook(dest, root=root)) == ["same"]
    assert (dest / FILE).read_bytes() == ran  # its outputs are still there


def test_the_lesson_alone_has_changed(root, dest):
    editions.workbook(dest, root=root)
    rewrite(dest / FILE, run_it)
    rewrite(root / "lessons" / FILE, author)
    assert actions(editions.workbook(dest, root=root)) == ["updated"]
    assert "told better" in text_of(read(dest / FILE))


def test_only_a_tag_of_the_lesson_has_changed(root, dest):
    editions.workbook(dest, root=root)
    rewrite(root / "lessons" / FILE, lambda notebook: notebook.cells[4].metadata.update(tags=["wide"]))
    assert actions(editions.workbook(dest, root=root)) == ["updated"]
    assert tags(read(dest / FILE).cells[5]) == ["wide"]  # below the cell for Colab


def test_the_learner_alone_has_changed(root, dest):
    editions.workbook(dest, root=root)
    rewrite(dest / FILE, learner)
    mine = (dest / FILE).read_bytes()
    assert actions(editions.workbook(dest, root=root)) == ["kept"]
    assert (dest / FILE).read_bytes() == mine
    assert not list(dest.glob("*.new*"))


def test_both_have_changed(root, dest):
    editions.workbook(dest, root=root)
    rewrite(dest / FILE, learner)
    mine = (dest / FILE).read_bytes()
    rewrite(root / "lessons" / FILE, author)
    [outcome] = [outcome for outcome in editions.workbook(dest, root=root) if outcome.name == FILE]
    assert outcome.action == "beside" and f"{NAME}.new.ipynb" in outcome.sentence
    assert (dest / FILE).read_bytes() == mine
    assert "told better" in text_of(read(dest / f"{NAME}.new.ipynb"))
    # it is offered once: a learner who throws it away is not asked again
    (dest / f"{NAME}.new.ipynb").unlink()
    assert actions(editions.workbook(dest, root=root)) == ["kept"]
    assert not list(dest.glob("*.new*"))


def test_the_new_one_is_a_learners_work_too_once_changed(root, dest):
    editions.workbook(dest, root=root)
    rewrite(dest / FILE, learner)
    rewrite(root / "lessons" / FILE, author)
    editions.workbook(dest, root=root)
    rewrite(dest / f"{NAME}.new.ipynb", learner)
    mine = (dest / f"{NAME}.new.ipynb").read_bytes()
    rewrite(root / "lessons" / FILE, lambda notebook: notebook.cells[2].update(source="## Once more"))
    assert actions(editions.workbook(dest, root=root)) == ["beside"]
    assert (dest / f"{NAME}.new.ipynb").read_bytes() == mine
    assert "Once more" in text_of(read(dest / f"{NAME}.new-2.ipynb"))


def test_an_untouched_new_one_is_replaced_by_a_newer(root, dest):
    editions.workbook(dest, root=root)
    rewrite(dest / FILE, learner)
    for story in ("## First", "## Second"):
        rewrite(root / "lessons" / FILE, lambda notebook, story=story: notebook.cells[2].update(source=story))
        editions.workbook(dest, root=root)
    assert [path.name for path in dest.glob("*.new*")] == [f"{NAME}.new.ipynb"]
    assert "Second" in text_of(read(dest / f"{NAME}.new.ipynb"))


def test_a_learner_who_takes_the_new_one_is_up_to_date(root, dest):
    editions.workbook(dest, root=root)
    rewrite(dest / FILE, learner)
    rewrite(root / "lessons" / FILE, author)
    editions.workbook(dest, root=root)
    (dest / f"{NAME}.new.ipynb").replace(dest / FILE)
    assert actions(editions.workbook(dest, root=root)) == ["same"]
    rewrite(root / "lessons" / FILE, lambda notebook: notebook.cells[2].update(source="## Once more"))
    assert actions(editions.workbook(dest, root=root)) == ["updated"]


def test_a_deleted_notebook_comes_back(root, dest):
    editions.workbook(dest, root=root)
    (dest / FILE).unlink()
    assert actions(editions.workbook(dest, root=root)) == ["new"]


def test_a_file_that_was_there_before_is_the_learners(root, dest):
    dest.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("mine")]), dest / FILE)
    assert actions(editions.workbook(dest, root=root)) == ["beside"]
    assert text_of(read(dest / FILE)) == "mine"


def test_helper_files_are_kept_like_notebooks(root, dest):
    editions.workbook(dest, root=root)
    (dest / "check_fixture.py").write_text("mine", encoding="utf-8")
    (root / "lessons" / "check_fixture.py").write_text("newer", encoding="utf-8")
    assert actions(editions.workbook(dest, root=root), "check_fixture.py") == ["beside"]
    assert (dest / "check_fixture.py").read_text(encoding="utf-8") == "mine"
    assert (dest / "check_fixture.new.py").read_text(encoding="utf-8") == "newer"


CHANGES = st.lists(
    st.tuples(st.sampled_from(["learner", "author", "sync", "reset"]), st.integers(0, 3)), max_size=8
)


@given(CHANGES)
def test_nothing_a_learner_has_written_is_ever_lost(tmp_path_factory, changes):
    dest, lesson, works = tmp_path_factory.mktemp("any") / "workbook", {"n": b"lesson 0"}, set()
    for who, number in [*changes, ("sync", 0)]:
        if who == "learner" and dest.exists():
            places = sorted(path for path in dest.glob("note*.txt"))
            place = places[number % len(places)]
            works.discard(place.read_bytes())  # overwritten by the learner, who may
            place.write_bytes(work := f"work {len(works)} {number} {place.name}".encode())
            works.add(work)
        elif who == "author":
            lesson["n"] = f"lesson {number}".encode()
        elif who == "reset":
            sync.start_again(dest, "note.txt", lesson["n"])
        else:
            sync.sync(dest, {"note.txt": lesson["n"]})
    held = {path.read_bytes() for path in dest.iterdir()}
    assert works <= held
    assert lesson["n"] in held or works  # the newest lesson is there, unless it was offered and written over


# ---- what is broken ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"files": 3}', '{"files": {"a": 1}}', "\x00\xff"])
def test_a_broken_manifest_is_set_aside_and_nothing_is_lost(root, dest, broken):
    editions.workbook(dest, root=root)
    rewrite(dest / FILE, learner)
    mine = (dest / FILE).read_bytes()
    (dest / sync.MANIFEST).write_bytes(broken.encode("latin-1"))
    outcomes = editions.workbook(dest, root=root)
    assert outcomes[0].action == "set aside" and "kept as" in outcomes[0].sentence
    aside = dest / re.search(r"kept as (\S+);", outcomes[0].sentence)[1]
    assert aside.read_bytes() == broken.encode("latin-1")
    assert (dest / FILE).read_bytes() == mine
    assert actions(outcomes) == ["beside"]  # whether the learner or the lesson changed can no longer be known
    assert actions(outcomes, "check_fixture.py") == ["same"]


@pytest.mark.parametrize("broken", [b"", b'{"cells": [{"cell_', b"[]", b'{"cells": 3}', b"\xff\xfe"])
def test_a_broken_notebook_is_set_aside_and_nothing_is_lost(root, dest, broken):
    editions.workbook(dest, root=root)
    (dest / FILE).write_bytes(broken)
    [outcome] = [outcome for outcome in editions.workbook(dest, root=root) if outcome.name == FILE]
    assert outcome.action == "set aside" and f"{NAME}.broken-1.ipynb" in outcome.sentence
    assert (dest / f"{NAME}.broken-1.ipynb").read_bytes() == broken
    assert "The story" in text_of(read(dest / FILE))


TWINS = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
TWINS["cells"] = [{"cell_type": "markdown", "id": "one", "metadata": {}, "source": "a"}] * 2


@pytest.mark.parametrize("broken", ["{", "[]", "{}", json.dumps(TWINS)])
def test_a_broken_lesson_is_named(root, dest, broken):
    (root / "lessons" / FILE).write_text(broken, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{FILE} is not a valid notebook"):
        editions.workbook(dest, root=root)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        recordings.write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_run_that_was_killed_is_picked_up(root, dest, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sync, "_write_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            editions.workbook(dest, root=root)
    assert {outcome.action for outcome in editions.workbook(dest, root=root)} <= {"new", "same"}
    rewrite(root / "lessons" / FILE, author)
    assert actions(editions.workbook(dest, root=root)) == ["updated"]


# ---- reset ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lesson", ["9", "09", NAME])
def test_reset_keeps_every_old_one(root, dest, lesson):
    editions.workbook(dest, root=root)
    for number in (1, 2):
        rewrite(dest / FILE, lambda notebook, n=number: notebook.cells[2].update(source=f"mine {n}"))
        [outcome] = editions.reset(lesson, dest, root=root)
        assert f"{NAME}.old-{number}.ipynb" in outcome.sentence
        assert f"mine {number}" in text_of(read(dest / f"{NAME}.old-{number}.ipynb"))
        assert "The story" in text_of(read(dest / FILE))
    rewrite(root / "lessons" / FILE, author)
    assert actions(editions.workbook(dest, root=root)) == ["updated"]


def test_reset_works_where_nothing_is(root, dest):
    [outcome] = editions.reset("09", dest, root=root)
    assert outcome.sentence == f"{FILE}: started again"
    assert (dest / FILE).exists()


# ---- book -------------------------------------------------------------------------------------------------


def test_the_book_edition_shows_stubs_and_hides_solutions():
    book = editions.book_edition(course_fixture.lesson(), NAME)
    nbformat.validate(book)
    sources = [cell.source for cell in book.cells]
    opened = sources.index('<details class="solution"><summary>Solution</summary>')
    answer, check, closed = book.cells[opened + 1 : opened + 4]
    assert answer.cell_type == check.cell_type == "code" and closed.source == "</details>"
    assert "return twice" in answer.source and BEGIN not in answer.source
    assert "It fails" in sources[opened - 1]  # hints come before the solution
    assert f"```python\n{editions.remove_solution(DOUBLE)}\n\ncheck.double(" in "\n".join(sources)
    assert "(exercise-09-double)=\n### Exercise 9.1: Twice" in "\n".join(sources)
    assert f"<summary>Reference answer</summary>\n\n{REFERENCE}\n\n</details>" in "\n".join(sources)
    assert text_of(book).count(REFERENCE) == 1 and "Only teachers" not in text_of(book)


def test_a_widget_becomes_its_note_in_the_book():
    book = editions.book_edition(course_fixture.lesson(), NAME)
    assert "```{note}\nIn JupyterLab a slider stands here.\n```" in [cell.source for cell in book.cells]
    assert "a control" not in text_of(book)


def test_a_widget_without_a_note_is_told():
    lesson = course_fixture.lesson()
    lesson.cells[7].metadata.pop("minigrok")
    with pytest.raises(ValueError, match=f"{NAME}, cell 8: a widget cell needs metadata minigrok.note"):
        editions.book_edition(lesson, NAME)


def test_every_details_of_the_book_is_closed():
    text = text_of(editions.book_edition(course_fixture.lesson(), NAME))
    assert len(re.findall("<details", text)) == len(re.findall("</details>", text)) == 9


def test_the_download_link_stands_below_the_promise():
    first = editions.book_edition(course_fixture.lesson(), NAME).cells[0].source
    promise, link, section = (first.index(text) for text in ("You will see", "{download}", "## You will be"))
    assert promise < link < section
    lesson = course_fixture.lesson()
    lesson.cells[0].source = "# A fixture\n\nA promise."
    assert "{download}" in editions.book_edition(lesson, NAME).cells[0].source


def test_code_fences_are_longer_than_those_within():
    lesson = course_fixture.lesson()
    exercises(lesson)["09-double"]["answer"].source += '\n"""```"""'
    assert "````python\n" in text_of(editions.book_edition(lesson, NAME))


def test_the_book_is_a_complete_tree_without_leaks_in_its_downloads(root, tmp_path):
    dest = editions.book(tmp_path / "book", root=root)
    found = {path.relative_to(dest).as_posix() for path in dest.rglob("*") if path.is_file()}
    assert found == {
        *(
            "_config.yml",
            "_toc.yml",
            "book/intro.md",
            "book/references.bib",
            f"lessons/{FILE}",
            f"_workbook/{FILE}",
        ),
        *("lessons/check_fixture.py", "lessons/recordings/other.npz", editions.LISTING),
    }
    editions.workbook(tmp_path / "workbook", root=root)
    assert (dest / "_workbook" / FILE).read_bytes() == (tmp_path / "workbook" / FILE).read_bytes()


def test_the_book_is_the_same_bytes_each_time_and_only_changes_are_written(root, tmp_path):
    dest = editions.book(tmp_path / "book", root=root)
    before = {path: path.stat().st_mtime_ns for path in dest.rglob("*.*") if path.name != editions.LISTING}
    (root / "book" / "intro.md").write_text("# Another\n", encoding="utf-8")
    (dest / "_build").mkdir()
    editions.book(dest, root=root)
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"intro.md"} and (dest / "_build").exists()


def test_stale_pages_leave_the_book_and_other_folders_are_refused(root, tmp_path):
    dest = editions.book(tmp_path / "book", root=root)
    (root / "book" / "intro.md").rename(root / "book" / "start.md")
    editions.book(dest, root=root)
    assert not (dest / "book" / "intro.md").exists() and (dest / "book" / "start.md").exists()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    editions.workbook(tmp_path / "workbook", root=root)
    for folder in ("home", "workbook"):
        before = sorted((tmp_path / folder).iterdir())
        with pytest.raises(ValueError, match="not empty and was not written by this command"):
            editions.book(tmp_path / folder, root=root)
        assert sorted((tmp_path / folder).iterdir()) == before


def test_a_broken_listing_of_the_book_is_said_and_made_again(root, tmp_path, capsys):
    dest = editions.book(tmp_path / "book", root=root)
    (dest / editions.LISTING).write_text("{", encoding="utf-8")
    editions.book(dest, root=root)
    assert "cannot be read and is made again" in capsys.readouterr().out
    assert FILE in (dest / editions.LISTING).read_text(encoding="utf-8")


def test_a_book_of_some_lessons_has_their_contents_only(root, tmp_path):
    (root / "lessons" / "10_other.ipynb").write_bytes((root / "lessons" / FILE).read_bytes())
    toc = {
        "format": "jb-book",
        "root": "book/intro",
        "parts": [
            {"caption": "One", "chapters": [{"file": f"lessons/{NAME}"}, {"file": "book/page"}]},
            {"caption": "Two", "chapters": [{"file": "lessons/10_other"}]},
        ],
    }
    (root / "_toc.yml").write_text(json.dumps(toc), encoding="utf-8")  # JSON is YAML
    dest = editions.book(tmp_path / "book", lessons=["09"], root=root)
    text = (dest / "_toc.yml").read_text(encoding="utf-8")
    assert NAME in text and "book/page" in text and "10_other" not in text and "Two" not in text


def test_a_clone_without_a_table_of_contents_is_told(root, dest):
    (root / "_toc.yml").unlink()
    with pytest.raises(FileNotFoundError, match="no _toc.yml in"):
        editions.book(dest, root=root)


# ---- choice of lessons, command line ----------------------------------------------------------------------


def test_lessons_that_are_not_there_are_told(root, tmp_path):
    with pytest.raises(ValueError, match="there is no lesson 12; there are 09"):
        editions.lesson_files(["12"], root=root)
    with pytest.raises(FileNotFoundError, match="made from a clone of the repository"):
        editions.lesson_files(root=tmp_path)


def test_the_command_line(root, dest, tmp_path, capsys):
    def run(*argv):
        return editions.main([str(word) for word in (*argv, "--root", root)])

    assert run("workbook", dest) == 0
    assert f"{FILE}: written" in capsys.readouterr().out
    assert run("workbook", dest, "--lessons", "9") == 0
    assert capsys.readouterr().out == ""  # up to date: nothing to say
    assert run("reset", "09", "--dest", dest) == 0
    assert "started again" in capsys.readouterr().out
    assert run("book", tmp_path / "book") == 0
    assert "jupyter-book build" in capsys.readouterr().out
    assert run("workbook", dest, "--lessons", "12") == 1
    assert capsys.readouterr().err == "editions: there is no lesson 12; there are 09\n"


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "minigrok.course.editions", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(word in text for word in ("workbook", "book", "release", "reset"))

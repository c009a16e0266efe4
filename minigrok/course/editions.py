"""Three editions of the course from one source, the teacher's notebooks in `lessons/`.

    python -m minigrok.course.editions workbook DEST                 learners' notebooks; their work is kept
    python -m minigrok.course.editions reset 01 --dest DEST          one lesson again from the start
    python -m minigrok.course.editions book DEST                     source tree of the Jupyter Book
    python -m minigrok.course.editions release DEST                  nbgrader course, with a seed of its own

What a cell is stands in its metadata (see `minigrok.course.cells`); `check_lesson` says in words where a
lesson departs from the frame.
"""

import argparse
import importlib.util
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from minigrok.course.cells import (
    BEGIN,
    CODE_STUB,
    END,
    digest,
    exercises,
    part,
    read_lesson,
    remove_solution,
    stub,
    tags,
)
from minigrok.course.citations import plain, read_references
from minigrok.course.frame import check_lesson
from minigrok.course.sync import Outcome, start_again, sync
from minigrok.recordings import write_whole

__all__ = [
    "book",
    "book_edition",
    "check_lesson",
    "helper_files",
    "lesson_files",
    "main",
    "read_lesson",
    "release",
    "release_edition",
    "remove_solution",
    "reset",
    "workbook",
    "workbook_edition",
]

ROOT = Path(__file__).resolve().parents[2]
LOCKED = {"grade": False, "solution": False, "locked": True, "task": False, "schema_version": 3}
TEXT_STUB = "*Write your answer here.*"
WORKBOOKS = "_workbook"  # folder of the book's source tree from which pages hand out workbooks
LISTING = ".minigrok-book.json"  # what the last run has written of the book; not the workbook's manifest
REPOSITORY = "https://github.com/minigrok/minigrok"

# Above the setup of what learners get: the library and the files beside the lesson, for a notebook alone.
COLAB = f"""\
# @title On Colab: install the course (anywhere else this cell does nothing)
import sys

if "google.colab" in sys.modules:
    %pip install --quiet "minigrok[course] @ git+{REPOSITORY}"
    !test -d /content/lessons || git clone -q --depth 1 -b workbook {REPOSITORY} /content/lessons
    %cd -q /content/lessons"""


# ---- what there is ----------------------------------------------------------------------------------------


def lesson_files(lessons: Iterable[str] = (), *, root: str | Path = ROOT) -> list[Path]:
    """The notebooks of `root/lessons`, in order; only those whose numbers are in `lessons`, if any are given.

    Raises FileNotFoundError where there are no lessons, ValueError for a number that is none of theirs.
    """
    folder = Path(root, "lessons")
    files = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not files:
        raise FileNotFoundError(
            f"no lessons in {folder}: the editions are made from a clone of the repository; "
            "give its folder with --root"
        )
    numbers = [file.name[:2] for file in files]
    wanted = {str(lesson).split("_")[0].zfill(2) for lesson in lessons}  # 1, 01, 01_name: the same lesson
    if missing := wanted - set(numbers):
        raise ValueError(f"there is no lesson {', '.join(sorted(missing))}; there are {', '.join(numbers)}")
    return [file for file in files if not wanted or file.name[:2] in wanted]


def helper_files(root: str | Path = ROOT) -> dict[str, bytes]:
    """What else lies in `root/lessons` (recordings, pictures), by name relative to it."""
    folder = Path(root, "lessons")
    files = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if not re.search(r"(^|/)(\.|__pycache__/)|\.ipynb$", name)
    }


# ---- from the teacher's edition to the others -------------------------------------------------------------


def workbook_edition(notebook: NotebookNode, name: str = "lesson") -> NotebookNode:
    """A lesson with its solutions removed, in which only the exercises may fail.

    `name` is how errors speak of the lesson. Raises ValueError where a solution would be handed out.
    """
    edition = _copy(notebook)
    for index, cell in enumerate(edition.cells):
        if part(cell) == "open-answer":
            cell.source = TEXT_STUB
        if cell.cell_type == "code":
            cell.source, cell.outputs, cell.execution_count = stub(cell, _where(name, index, cell)), [], None
        if part(cell) in ("answer", "check"):  # so that an untouched workbook runs to its end
            cell.metadata["tags"] = [*tags(cell), "raises-exception"]
    return _with_colab(_without_teacher(edition))


def release_edition(notebook: NotebookNode, class_seed: int, name: str = "lesson") -> NotebookNode:
    """The teacher's edition for nbgrader: the class's seed is set, and what must not be edited is locked.

    nbgrader removes the solutions itself. The seed stands in the setup cell, which is locked, and as a number
    in the checks, so that a learner who sets CLASS_SEED back to 0 is still asked for the class's own answer.
    The cells that exercises need are locked too. The rest of the story carries the digest of its source:
    where a learner has left it as it was, `minigrok.course.grading` need not run it.
    """
    edition = _with_colab(_copy(notebook))  # students may have no other computer
    for index, cell in enumerate(edition.cells):
        if cell.cell_type != "code":
            continue
        stub(cell, _where(name, index, cell))  # refuse now what nbgrader would refuse, or hand out, later
        cell.source = re.sub(r"(?m)^CLASS_SEED = \d+", f"CLASS_SEED = {class_seed}", cell.source)
        if part(cell) == "check":
            cell.source = re.sub(r"\bCLASS_SEED\b", str(class_seed), cell.source)
        elif part(cell) == "setup" or "needed-by-exercises" in tags(cell):
            what = "setup" if part(cell) == "setup" else cell.id
            cell.metadata["nbgrader"] = {**LOCKED, "grade_id": f"{name[:2]}-{what}"}
        elif part(cell) != "answer":
            cell.metadata.setdefault("minigrok", {})["story"] = digest(cell.source)
    return edition


def book_edition(notebook: NotebookNode, name: str = "lesson") -> NotebookNode:
    """A lesson as the book shows it: stubs to read, and executed solutions in closed dropdowns.

    The dropdown is HTML's own `<details>`, opened and closed by two Markdown cells around the executed ones:
    it needs no script, works from the keyboard, and the browser's search finds what is in it.
    """
    edition = _without_teacher(_copy(notebook))
    held, shown = exercises(edition), []
    for index, cell in enumerate(edition.cells):
        parts = held.get(cell.metadata.get("minigrok", {}).get("exercise"), {})
        shown += _book_cells(cell, parts, _where(name, index, cell))
        if parts and cell is list(parts.values())[-1]:
            shown += _solution(cell, parts)
    edition.cells = shown
    edition.cells[0].source = _with_download(edition.cells[0].source, name)
    return edition


def _book_cells(cell: NotebookNode, parts: dict[str, NotebookNode], where: str) -> list[NotebookNode]:
    """What one cell of the teacher's edition shows where it stands."""
    if part(cell) == "card":
        anchor = f"(exercise-{cell.metadata.minigrok.exercise})="  # other pages can link to the exercise
        return [_markdown(cell, f"{anchor}\n{cell.source}")]
    if part(cell) == "answer":
        code = stub(cell, where) + ("\n\n" + parts["check"].source if "check" in parts else "")
        return [_markdown(cell, _fence("python", code), "-stub")]
    if part(cell) in ("check", "open-answer"):
        return []
    if "widget" in tags(cell):
        return [_markdown(cell, _fence("{note}", _note(cell, where)))]
    return [cell]


def _note(cell: NotebookNode, where: str) -> str:
    if note := cell.metadata.get("minigrok", {}).get("note"):
        return note
    raise ValueError(f"{where}: a widget cell needs metadata minigrok.note, the sentence that stands for it")


def _solution(last: NotebookNode, parts: dict[str, NotebookNode]) -> list[NotebookNode]:
    """The closed dropdown that ends an exercise: executed answer and check, or the reference answer."""
    opening, closing = '<details class="solution"><summary>{}</summary>', "</details>"
    if "open-answer" in parts:
        text = f"{opening.format('Reference answer')}\n\n{parts['open-answer'].source}\n\n{closing}"
        return [_markdown(last, text, "-answer")]
    return [
        _markdown(last, opening.format("Solution"), "-solution"),
        *(_without_markers(parts[name]) for name in ("answer", "check") if name in parts),
        _markdown(last, closing, "-end"),
    ]


def _copy(notebook: NotebookNode) -> NotebookNode:
    return nbformat.from_dict(notebook)  # copies all the way down


def _without_teacher(notebook: NotebookNode) -> NotebookNode:
    notebook.cells = [cell for cell in notebook.cells if "teacher" not in tags(cell)]
    return notebook


def _with_colab(notebook: NotebookNode) -> NotebookNode:
    folded = {"cellView": "form", "jupyter": {"source_hidden": True}}  # for Colab and for Lab
    install = new_code_cell(COLAB, id="install-on-colab", metadata=folded)
    parts = [part(cell) for cell in notebook.cells]
    notebook.cells.insert(parts.index("setup") if "setup" in parts else 0, install)
    return notebook


def _markdown(cell: NotebookNode, source: str, suffix: str = "") -> NotebookNode:
    # the id is made from the old one, not drawn: two runs write the same bytes
    return new_markdown_cell(source, id=f"{cell.id}{suffix}")


def _without_markers(cell: NotebookNode) -> NotebookNode:
    lines = [line for line in cell.source.split("\n") if BEGIN not in line and END not in line]
    return nbformat.from_dict({**cell, "source": "\n".join(lines)})


def _fence(info: str, text: str) -> str:
    longest = max([2, *(len(ticks) for ticks in re.findall(r"`+", text))])
    ticks = "`" * (longest + 1)
    return f"{ticks}{info}\n{text}\n{ticks}"


def _with_download(source: str, name: str) -> str:
    """The title cell with a link to the workbook, above the first section."""
    link = f"{{download}}`Download the workbook of this lesson <../{WORKBOOKS}/{name}.ipynb>`"
    head, *rest = re.split(r"(?m)^(?=## )", source, maxsplit=1)
    return f"{head.rstrip()}\n\n{link} to work through it in JupyterLab.\n\n{''.join(rest)}".rstrip()


def _where(name: str, index: int, cell: NotebookNode) -> str:
    exercise = cell.metadata.get("minigrok", {}).get("exercise")
    return f"{name}, cell {index + 1}" + (f" (exercise {exercise})" if exercise else "")


def _bytes(notebook: NotebookNode) -> bytes:
    return (nbformat.writes(notebook, version=4).rstrip("\n") + "\n").encode()


# ---- workbook ---------------------------------------------------------------------------------------------


def workbook(dest: str | Path, *, lessons: Iterable[str] = (), root: str | Path = ROOT) -> list[Outcome]:
    """Write the learners' notebooks and what they need into `dest`, and return what became of each file.

    Learners' work is never overwritten (see `minigrok.course.sync`).
    """
    files = {path.name: _workbook_bytes(path, root) for path in lesson_files(lessons, root=root)}
    return sync(dest, {**helper_files(root), **files})


def reset(lesson: str, dest: str | Path, *, root: str | Path = ROOT) -> list[Outcome]:
    """Start one lesson of a workbook again; the old notebook is kept beside it as `NN_name.old-N.ipynb`."""
    path = lesson_files([lesson], root=root)[0]
    return start_again(dest, path.name, _workbook_bytes(path, root))


def _workbook_bytes(path: Path, root: str | Path) -> bytes:
    return _bytes(_for_lab(workbook_edition(read_lesson(path), path.stem), root))


def _for_lab(notebook: NotebookNode, root: str | Path) -> NotebookNode:
    """Write out the citations, of which Lab would show the bare keys."""
    bibliography = Path(root, "book", "references.bib")
    references = read_references(bibliography.read_text(encoding="utf-8")) if bibliography.exists() else {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, references)
    return notebook


# ---- book -------------------------------------------------------------------------------------------------


def book(dest: str | Path, *, lessons: Iterable[str] = (), root: str | Path = ROOT) -> Path:
    """Write the complete source tree of the Jupyter Book into `dest` and return `dest`.

    Only what has changed is written, so that an incremental build stays one; what an earlier run wrote and
    this one does not is removed. With `lessons`, the others are left out of the table of contents too.
    Raises ValueError where `dest` holds something that no earlier run has written.
    """
    root, dest, files = Path(root), Path(dest), {}
    for path in lesson_files(lessons, root=root):
        files[f"lessons/{path.name}"] = _bytes(book_edition(read_lesson(path), path.stem))
        files[f"{WORKBOOKS}/{path.name}"] = _workbook_bytes(path, root)
    files |= {f"lessons/{name}": content for name, content in helper_files(root).items()}
    files |= _book_pages(root)
    if lessons:
        files["_toc.yml"] = _toc_of(files)
    _replace_tree(dest, files)
    return dest


def _book_pages(root: Path) -> dict[str, bytes]:
    """`_config.yml`, `_toc.yml`, everything in `book/`, and the changes that it includes, by name."""
    names = ["_config.yml", "_toc.yml"]
    if missing := [name for name in names if not (root / name).exists()]:
        raise FileNotFoundError(
            f"no {' and no '.join(missing)} in {root}: the book is made from a clone of the repository; "
            "give its folder with --root"
        )
    names += [path.relative_to(root).as_posix() for path in (root / "book").rglob("*") if path.is_file()]
    names += [name for name in ["CHANGELOG.md"] if (root / name).exists()]
    return {
        name: (root / name).read_bytes()
        for name in names
        if not re.search(r"/(\.|_build/|__pycache__/)", name)
    }


def _toc_of(files: dict[str, bytes]) -> bytes:
    """The table of contents without the lessons that are not in `files`."""
    import yaml  # comes with Jupyter Book

    def gone(item):
        name = str(item.get("file", "")).removesuffix(".ipynb") if isinstance(item, dict) else ""
        return name.startswith("lessons/") and f"{name}.ipynb" not in files

    def kept(node):
        if isinstance(node, list):
            return [kept(item) for item in node if not gone(item)]
        return {key: kept(value) for key, value in node.items()} if isinstance(node, dict) else node

    toc = kept(yaml.safe_load(files["_toc.yml"]))
    if "parts" in toc:  # Jupyter Book refuses a part without chapters
        toc["parts"] = [entry for entry in toc["parts"] if entry.get("chapters")]
    return yaml.safe_dump(toc, sort_keys=False, allow_unicode=True).encode()


def _replace_tree(dest: Path, files: dict[str, bytes]) -> None:
    """Make `dest` hold `files`; remember them, so that the next run knows what is stale."""
    listing = dest / LISTING
    if dest.exists() and any(dest.iterdir()) and not listing.exists():
        raise ValueError(f"{dest} is not empty and was not written by this command: choose another folder")
    earlier = _earlier(listing)
    write_whole(listing, json.dumps({"written": sorted({*earlier, *files})}).encode())
    for name in set(earlier) - set(files):
        (dest / name).unlink(missing_ok=True)
    for name, content in files.items():
        if not (dest / name).exists() or (dest / name).read_bytes() != content:
            write_whole(dest / name, content)
    write_whole(listing, json.dumps({"written": sorted(files)}).encode())


def _earlier(listing: Path) -> list[str]:
    if not listing.exists():
        return []
    try:
        return [str(name) for name in json.loads(listing.read_bytes())["written"]]
    except (ValueError, KeyError, TypeError):  # all else in the tree is made again anyway
        print(f"{listing} cannot be read and is made again; pages that are no longer in the book may stay")
        return []


# ---- nbgrader ---------------------------------------------------------------------------------------------


NBGRADER_CONFIG = f"""\
# nbgrader, without a server. Written by `python -m minigrok.course.editions release`; yours to change.
#
#   hand out      release/LESSON/            (nothing else: source/ holds the solutions)
#   collect       submitted/STUDENT/LESSON/LESSON.ipynb; from a platform's zip by `zip_collect`, see below
#   mark          python -m nbgrader autograde LESSON --create
#   open answers  `jupyter lab` in this folder, menu Nbgrader, Formgrader; references/ has what is expected
#   give back     python -m nbgrader generate_feedback LESSON    into feedback/STUDENT/LESSON/
#   all marks     python -m minigrok.course.grading export --for moodle (or canvas, csv)
#
# Marking runs what students wrote. The chapter "Grading" of the book says what holds it, and what does not.
#
# `python` is that of the environment in which minigrok and nbgrader are installed.
import os
import sysconfig
from pathlib import Path

from nbconvert.preprocessors import TagRemovePreprocessor
from nbgrader.converters import Autograde, GenerateAssignment

from minigrok.course.grading import Restore, steps

c = get_config()  # noqa: F821, nbgrader gives it
c.CourseDirectory.root = str(Path(__file__).resolve().parent)  # gradebook.db lies here too

# nbgrader starts a program of this environment by its bare name, also where the environment is not activated.
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", "")

# Cells for teachers stay here; solutions become the same stubs as in the workbook.
c.TagRemovePreprocessor.enabled = True
c.TagRemovePreprocessor.remove_cell_tags = {{"teacher"}}
c.GenerateAssignment.preprocessors = [TagRemovePreprocessor, *GenerateAssignment.preprocessors.default()]
c.ClearSolutions.code_stub = {{"python": "{CODE_STUB}"}}
c.ClearSolutions.text_stub = "{TEXT_STUB}"

# Cells that a submission has lost or disguised are put back before all else.
c.Autograde.sanitize_preprocessors = [Restore, *Autograde.sanitize_preprocessors.default()]

# Only the cells that marks need are run, in a kernel with limits (the numbers are the defaults).
c.Autograde.autograde_preprocessors = steps(Autograde.autograde_preprocessors.default())
c.ExecuteLesson.timeout = 120  # seconds for one cell: an endless loop is stopped and earns nothing
c.ExecuteLesson.budget = 600  # seconds for one submission
c.LessonKernelManager.memory = 4.0  # GiB
c.LessonKernelManager.cpu = 300  # seconds of processor time for one submission
c.LessonKernelManager.sandbox = "auto"  # "bubblewrap" or "network" to insist on one, "none" for limits alone
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same marks on every machine, and no quarrel over cores

# `python -m nbgrader zip_collect LESSON` sorts the zip in downloaded/LESSON/archive/. STUDENT is then the
# full name as Moodle writes it, or Canvas's number of the student. The name of the file is no matter.
_FOLDER = r".*[/\\\\](?P<file_id>[^/\\\\]+)[/\\\\]extracted[/\\\\](?:.*[/\\\\])?"
MOODLE = _FOLDER + r"(?P<student_id>[^/\\\\]+)_\\d+_assignsubmission_file"
CANVAS = _FOLDER + r"[^/\\\\]*?_(?P<student_id>\\d+)_\\d+_"
c.FileNameCollectorPlugin.named_regexp = MOODLE  # or CANVAS
"""


def release(
    dest: str | Path, class_seed: int | None = None, *, lessons: Iterable[str] = (), root: str | Path = ROOT
) -> Path:
    """Write an nbgrader course into `dest`, one assignment a lesson, and have nbgrader make `dest/release`.

    `dest` is the teacher's own folder: `source` holds the solutions with the class's seed, `references` what
    open answers should hold, `gradebook.db` the marks. Hand out what is in `release`, nothing else. A source
    that the teacher has changed is kept; the new one then goes to `changed/`. Without `class_seed` it is the
    one of the last release into `dest` (`class_seed.txt`), or a new one that is drawn.

    Raises ModuleNotFoundError without nbgrader, ValueError for a seed below 1, RuntimeError with nbgrader's
    own words where it fails.
    """
    if importlib.util.find_spec("nbgrader") is None:
        raise ModuleNotFoundError(
            'a release needs nbgrader: install it with `pip install -e ".[instructor]"`'
        )
    dest, files = Path(dest), {}
    seed = _class_seed(dest / "class_seed.txt", class_seed)
    for path in lesson_files(lessons, root=root):
        files |= _assignment(path, seed, root)
        files[f"references/{path.stem}.md"] = _references(read_lesson(path)).encode()
    write_whole(dest / "class_seed.txt", f"{seed}\n".encode())
    config = {"nbgrader_config.py": NBGRADER_CONFIG.encode()}
    for outcome in sync(dest, config | files, place=lambda name: f"changed/{name}"):
        if outcome.action in ("beside", "set aside"):
            print(outcome.sentence)
    _nbgrader(dest, "generate_assignment", "*", "--force")
    return dest


def _class_seed(path: Path, given: int | None) -> int:
    """The seed that was given, else that of the last release, else a new one."""
    if given is None and path.exists():
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        if not text.isdecimal():
            raise ValueError(
                f"{path} should hold the class seed, a whole number, got {text[:40]!r}: mend it, "
                "or give the seed with --class-seed"
            )
        given = int(text)
    seed = 1 + secrets.randbelow(9999) if given is None else given
    if seed < 1:
        raise ValueError(
            f"the class seed should be 1 or more, got {seed}: 0 is the seed of the published solutions, "
            "so everybody knows its numbers"
        )
    return seed


def _assignment(path: Path, class_seed: int, root: str | Path) -> dict[str, bytes]:
    """The source of one assignment: the lesson, and the helper files that its cells name or import."""
    notebook = _for_lab(release_edition(read_lesson(path), class_seed, path.stem), root)
    text = "\n".join(cell.source for cell in notebook.cells)
    named = {
        name: content
        for name, content in helper_files(root).items()
        if Path(name).name in text or (name.endswith(".py") and f"import {Path(name).stem}" in text)
    }
    return {
        f"source/{path.stem}/{name}": content
        for name, content in {path.name: _bytes(notebook), **named}.items()
    }


def _references(notebook: NotebookNode) -> str:
    """What a grader of open answers has beside the screen: each question, and its reference answer."""
    open_ones = [parts for parts in exercises(notebook).values() if "open-answer" in parts]
    return "\n\n".join(
        f"{parts['card'].source}\n\n**Reference answer**\n\n{parts['open-answer'].source}"
        for parts in open_ones
    )


def _nbgrader(course: Path, *command: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "nbgrader", *command], cwd=course, capture_output=True, text=True
    )
    if run.returncode:
        raise RuntimeError(f"`nbgrader {' '.join(command)}` failed in {course}:\n{run.stderr[-2000:]}")


# ---- command line -----------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status, 1 after a sentence on stderr where something is wrong."""
    options = _parser().parse_args(argv)
    try:
        _run(options)
    except (ValueError, OSError, ModuleNotFoundError, RuntimeError) as error:
        print(f"editions: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m minigrok.course.editions", description="Editions of the course, made from lessons/."
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--root", type=Path, default=ROOT, help="clone of the repository")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("dest", type=Path, help="folder to write to")
    chosen.add_argument("--lessons", nargs="+", default=[], metavar="NN", help="only these lessons")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("workbook", parents=[chosen, shared], help="learners' notebooks, solutions removed")
    commands.add_parser("book", parents=[chosen, shared], help="source tree of the Jupyter Book")
    command = commands.add_parser("release", parents=[chosen, shared], help="nbgrader course for a class")
    command.add_argument(
        "--class-seed", type=int, help="your class's number, 1 or more (default: that of DEST, or a new one)"
    )
    command = commands.add_parser("reset", parents=[shared], help="one lesson again; the old one is kept")
    command.add_argument("lesson", metavar="NN")
    command.add_argument(
        "--dest", type=Path, default=Path("workbook"), help="the workbook (default: workbook)"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    chosen = {"root": options.root} | ({"lessons": options.lessons} if "lessons" in options else {})
    if options.command == "book":
        print(f"wrote {book(options.dest, **chosen)}: build it with `jupyter-book build`")
    elif options.command == "release":
        made = release(options.dest, options.class_seed, **chosen)
        seed = (made / "class_seed.txt").read_text(encoding="utf-8").strip()
        print(f"wrote {made}, class seed {seed}: hand out {made / 'release'}, keep the rest to yourself")
    elif options.command == "reset":
        _say(reset(options.lesson, options.dest, **chosen))
    else:
        _say(workbook(options.dest, **chosen))


def _say(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.action != "same":
            print(outcome.sentence)


if __name__ == "__main__":
    sys.exit(main())

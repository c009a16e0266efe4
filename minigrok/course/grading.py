"""What nbgrader needs beyond itself to grade this course: quick, limited runs, and marks for other platforms.

    python -m minigrok.course.grading sandbox              what will hold a submission on this machine
    python -m minigrok.course.grading export --for moodle  all marks as a file to import (or canvas, csv)
    python -m minigrok.course.grading seed 17              is a number of the book right for this class too?

`nbgrader_config.py` of a release (see `minigrok.course.editions`) puts `ExecuteLesson` in the place of
nbgrader's own execution. The book's page "Grading" says how to work with it.
"""

import argparse
import contextlib
import csv
import functools
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import symtable
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from nbformat import NotebookNode

if importlib.util.find_spec("nbgrader") is None:
    raise ModuleNotFoundError('grading needs nbgrader: install it with `pip install -e ".[instructor]"`')

import matplotlib
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbgrader.api import Gradebook, MissingEntry, SubmittedAssignment
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from nbgrader.utils import is_grade, is_locked, is_solution
from traitlets import Enum, Float, Integer, default

from minigrok.course._kernel import OF_THE_SYSTEM, of_python
from minigrok.course.cells import digest, exercises, part, read_lesson, tags
from minigrok.course.editions import ROOT, lesson_files
from minigrok.course.exercises import ExerciseError

__all__ = [
    "ExecuteLesson",
    "LessonKernelManager",
    "Restore",
    "Row",
    "canvas",
    "main",
    "marks",
    "moodle",
    "plain",
    "restore",
    "shared_numbers",
    "steps",
    "story",
]

SKIP = "skip-execution"  # nbclient's own tag
UNKNOWN = "unknown"  # in the place of an e-mail address
NOT_RUN = "(not run for the marks: no exercise needs this cell)\n"
KEPT = re.compile(
    r"(HOME|LANG|LC_\w*|TMPDIR|IPYTHONDIR|MPL\w+|TZ|PATH|LD_\w+|DYLD_\w+|OMP_\w+|MKL_\w+|PYTHON\w*|JPY_\w+|NBGRADER_\w+)"
)


# ---- what was handed out ----------------------------------------------------------------------------------


class Restore(NbGraderPreprocessor):
    """Comes before nbgrader's own steps, which one odd number in a submission can end for the whole class."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        folder, about = self.parent.parent.coursedir, resources["nbgrader"]
        released = Path(folder.format_path(folder.release_directory, ".", about["assignment"]))
        restore(nb, nbformat.read(released / f"{about['notebook']}.ipynb", as_version=4))
        return nb, resources


def restore(notebook: NotebookNode, released: NotebookNode) -> None:
    """Give each cell of a submission the part that it was handed out with, and put back those that are gone.

    A cell is known by nbgrader's id, else by the notebook's, which is the same in all editions: so who has
    worked in the workbook may hand in that. What cells say, nbgrader restores later where it is locked.
    """
    handed_out = {cell.metadata.nbgrader.grade_id: cell for cell in released.cells if _graded(cell)}
    names = {cell.id: name for name, cell in handed_out.items()}
    found: dict[str, NotebookNode] = {}  # of copies the last, as nbgrader has it
    for cell in notebook.cells:
        claimed = _graded(cell) and str(cell.metadata.nbgrader.get("grade_id"))
        cell.metadata.pop("nbgrader", None)
        if name := claimed if claimed in handed_out else names.get(cell.get("id")):
            found.get(name, cell).metadata.pop("nbgrader", None)
            cell.metadata["nbgrader"] = NotebookNode(handed_out[name].metadata.nbgrader)
            found[name] = cell
    place = 0
    for name, cell in handed_out.items():
        if name not in found:
            notebook.cells.insert(place, nbformat.from_dict(cell))
            found[name] = notebook.cells[place]
        place = 1 + next(index for index, other in enumerate(notebook.cells) if other is found[name])


def _graded(cell: NotebookNode) -> bool:
    return isinstance(cell.metadata.get("nbgrader"), dict) and bool(cell.metadata.nbgrader.get("grade_id"))


# ---- what is run ------------------------------------------------------------------------------------------


def steps(nbgraders: Sequence[type]) -> list[type]:
    """nbgrader's steps of autograding with `ExecuteLesson` in the place of its own execution."""
    return [ExecuteLesson if step is Execute else step for step in nbgraders]


def story(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells of a submission that marks do not need: the story, as far as it is what was handed out.

    A cell that the learner has changed or added is run. Where such a cell, or an answer, uses a name that
    only the story sets, nothing is left out: the list is empty.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    left_out = [
        cell for cell in code if cell.metadata.get("minigrok", {}).get("story") == digest(cell.source)
    ]
    run = [cell for cell in code if all(cell is not other for other in left_out)]
    only_there = _names(left_out)[0] - _names(run)[0]
    asked = _names([cell for cell in run if not is_locked(cell)])[1]
    return [] if only_there & asked else left_out


def _names(cells: list[NotebookNode]) -> tuple[set[str], set[str]]:
    """The names that cells set for others, and those that they use without setting them themselves."""
    sets, uses = set(), set()
    for cell in cells:
        try:
            top = symtable.symtable(cell.source, "cell", "exec")
        except (SyntaxError, ValueError):  # a magic, or no Python: nothing can be said of it
            continue
        own = {name.get_name() for name in top.get_symbols() if name.is_assigned() or name.is_imported()}
        sets |= own
        uses |= {
            name.get_name() for table in _tables(top) for name in table.get_symbols() if name.is_global()
        }
        uses |= {name.get_name() for name in top.get_symbols() if name.is_referenced()} - own
    return sets, uses


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _tables(child)


class ExecuteLesson(Execute):
    """nbgrader's execution, but of the cells that marks need, and with an end.

    A check earns its points only if it has said so (`✓`): one that was not run, or whose kernel died, earns
    nothing. The kernel is `LessonKernelManager`'s.
    """

    budget = Integer(600, help="Seconds for all cells of a submission together.").tag(config=True)
    most_output = Integer(1_000_000, help="Characters that are kept of what one cell prints.").tag(
        config=True
    )

    # nbclient's 4 seconds have cost an honest submission its marks on a busy machine
    iopub_timeout = Integer(60, help="Seconds to wait for what a cell printed, once it is done.").tag(
        config=True
    )

    def __init__(self, **options):
        # nothing that the kernel still holds is wanted
        super().__init__(kernel_manager_class=LessonKernelManager, shutdown_kernel="immediate", **options)

    def preprocess(self, nb: NotebookNode, resources=None, km=None):
        for cell in nb.cells:  # whoever wrote this tag into a check did not want it to be run
            cell.metadata["tags"] = [tag for tag in tags(cell) if tag != SKIP]
        left_out = story(nb)
        for cell in left_out:
            cell.metadata["tags"].append(SKIP)
        self.log.info("Running all but %d of %d cells", len(left_out), len(nb.cells))
        self._cell, self._end = -1, monotonic() + self.budget
        self.timeout_func = lambda _: max(1, min(self.timeout, int(self._end - monotonic())))
        with tempfile.TemporaryDirectory(prefix="minigrok-") as scratch, _setting(_homes(Path(scratch))):
            try:
                super().preprocess(nb, resources, km)
            except (DeadKernelError, CellTimeoutError) as error:
                if self._cell < 0:  # it never started: not the submission's doing
                    raise
                _fail(nb.cells[self._cell :], type(error).__name__, f"the kernel ended here: {error}")
        for cell in left_out:
            cell.metadata["tags"].remove(SKIP)
            cell.outputs = [NotebookNode(output_type="stream", name="stdout", text=NOT_RUN)]
        _fail([cell for cell in nb.cells if _silent(cell)], "NoResult", "this check has not come to its end")
        return nb, self.resources

    def preprocess_cell(self, cell: NotebookNode, resources, index: int):
        self._cell = index
        return super().preprocess_cell(cell, resources, index)

    def output(self, outs, msg, display_id, cell_index):
        size = sum(len(str(out.get("text", out.get("data", "")))) for out in outs)
        if msg["msg_type"] != "error" and size > self.most_output:
            return None
        return super().output(outs, msg, display_id, cell_index)


@contextlib.contextmanager
def _setting(variables: Mapping[str, str]) -> Iterator[None]:
    """As nbgrader's own `setenv`, which leaves the variables set after an error, and unset otherwise."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _homes(scratch: Path) -> dict[str, str]:
    """Where the kernel's programs keep what they write, and matplotlib's list of fonts, which takes long."""
    folders = {"TMPDIR": scratch, "IPYTHONDIR": scratch / "ipython", "MPLCONFIGDIR": scratch / "matplotlib"}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    for fonts in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):
        shutil.copy(fonts, folders["MPLCONFIGDIR"])
    return {name: str(folder) for name, folder in folders.items()}


def _silent(cell: NotebookNode) -> bool:
    """A check of an exercise that has not said that it passed."""
    if cell.cell_type != "code" or not cell.metadata.get("nbgrader", {}).get("grade_id", "").endswith(
        "-check"
    ):
        return False
    return "✓" not in "".join(output.get("text", "") for output in cell.outputs)


def _fail(cells: list[NotebookNode], name: str, sentence: str) -> None:
    """Have the automatic marks among `cells` be none, and say why where nothing does yet."""
    for cell in cells:
        if cell.cell_type == "code" and is_grade(cell) and not is_solution(cell):
            if not any(output.output_type == "error" for output in cell.outputs):
                line = f"{name}: {sentence}"
                cell.outputs.append(
                    NotebookNode(output_type="error", ename=name, evalue=sentence, traceback=[line])
                )


# ---- the class seed ---------------------------------------------------------------------------------------


def shared_numbers(notebook: NotebookNode, seed: int) -> list[str]:
    """The exercises of a lesson whose number for seed 0, which the book shows, is right for `seed` too.

    Some answers have few values, so two classes may agree by chance. Runs what these exercises need, in this
    process and in the working directory, which should be the folder of the lessons.
    """
    asked = {name: parts for name, parts in exercises(notebook).items() if _asks_a_number(parts)}
    names, shared = {"__name__": "__main__"}, []
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in notebook.cells if asked else []:
            name = cell.metadata.get("minigrok", {}).get("exercise")
            if part(cell) == "setup" or "needed-by-exercises" in tags(cell):
                exec(cell.source, names)
            elif part(cell) == "answer" and name in asked:
                published = dict(names)
                exec(cell.source, published)
                try:
                    exec(asked[name]["check"].source, published | {"CLASS_SEED": seed})
                except ExerciseError:
                    continue
                shared.append(name)
    return shared


def _asks_a_number(parts: dict[str, NotebookNode]) -> bool:
    """Whether the answer is a value of the class's seed; a function is right for every class."""
    return "CLASS_SEED" in parts.get("check", {}).get("source", "") and "def " not in parts["answer"].source


# ---- where it is run --------------------------------------------------------------------------------------


class LessonKernelManager(AsyncKernelManager):
    """Starts `minigrok.course._kernel` with limits, in the strongest sandbox that this machine has."""

    memory = Float(4.0, help="GiB of data; 0 is no limit.").tag(config=True)
    cpu = Integer(300, help="Seconds of processor time; 0 is no limit.").tag(config=True)
    file = Float(0.1, help="GiB of a file that is written; 0 is no limit.").tag(config=True)
    sandbox = Enum(
        ["auto", "bubblewrap", "network", "none"],
        "auto",
        help="bubblewrap: neither network nor files of others. network: no network. none: limits and a "
        "tripwire. auto: the first of these that works here.",
    ).tag(config=True)

    @default("transport")
    def _transport(self) -> str:
        return "tcp" if self._kind == "none" else "ipc"  # a socket in a folder is heard without a network

    @default("ip")
    def _ip(self) -> str:
        return "127.0.0.1" if self._kind == "none" else os.path.join(os.environ["TMPDIR"], "kernel")

    @property
    def kernel_spec(self):
        spec = super().kernel_spec
        spec.interrupt_mode = "message"  # a signal would end bubblewrap
        return spec

    @property
    def _kind(self) -> str:
        return best_sandbox() if self.sandbox == "auto" else self.sandbox

    def format_kernel_cmd(self, extra_arguments=None) -> list[str]:
        connection = os.path.realpath(self.connection_file)
        limits = {"memory": int(self.memory * 2**30), "cpu": self.cpu, "file": int(self.file * 2**30)}
        kernel = [sys.executable, "-m", "minigrok.course._kernel", json.dumps(limits), "-f", connection]
        return [*self._inside(connection), *kernel, *(extra_arguments or [])]

    def _inside(self, connection: str) -> list[str]:
        if os.name != "posix":
            return []
        secrets = [name for name in os.environ if not KEPT.fullmatch(name)]
        unset = ["env", *(part for name in secrets for part in ("-u", name))]
        folder = str(self._launch_args.get("cwd") or os.getcwd())
        writable = [os.path.realpath(folder), os.path.realpath(os.environ["TMPDIR"])]
        return [*unset, *sandbox_command(self._kind, writable, [connection])]


def sandbox_command(kind: str, writable: Sequence[str], readable: Sequence[str] = ()) -> list[str]:
    """What stands before a command so that it runs in a sandbox of this kind."""
    if kind == "none":
        return []
    if kind == "network":
        return ["unshare", "--map-root-user", "--net", "--"]
    seen = [*OF_THE_SYSTEM, *of_python(), *readable]
    binds = [
        part
        for path in seen
        if not path.startswith(("/dev", "/proc"))
        for part in ("--ro-bind-try", path, path)
    ]
    binds += [part for path in writable for part in ("--bind", path, path)]
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--chdir", writable[0]]
    return ["bwrap", "--dev", "/dev", "--proc", "/proc", *binds, *options, "--"]


@functools.cache
def best_sandbox() -> str:
    """The strongest kind of sandbox that works on this machine: bubblewrap, network or none."""
    if sys.platform == "linux":
        with tempfile.TemporaryDirectory() as folder:
            for kind in ("bubblewrap", "network"):
                command = [*sandbox_command(kind, [folder]), "true"]
                if shutil.which(command[0]) and not subprocess.run(command, capture_output=True).returncode:
                    return kind
    return "none"


# ---- marks for other platforms ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One student's marks: `points` by lesson, None where nothing was handed in."""

    student: str
    first_name: str
    last_name: str
    email: str
    platform_id: str  # the number by which the learning platform knows the student, "" if none was imported
    points: dict[str, float | None]


def marks(
    book: Gradebook, lessons: Sequence[str] = ()
) -> tuple[dict[str, float], list[Row], dict[str, list[str]], dict[str, list[str]]]:
    """Most points by lesson, one row a student, and by lesson two lists of students: those of whom an open
    answer still waits for a person, and those whose submission could not be marked at all.

    `lessons` are numbers (1 or 01), all if empty. Points are after the deduction for lateness, at least 0.
    Raises ValueError for a lesson of which the gradebook has no assignment.
    """
    numbers = {lesson.split("_")[0].zfill(2) for lesson in lessons}
    if missing := numbers - {given.name[:2] for given in book.assignments}:
        raise ValueError(f"the gradebook has no lesson {', '.join(sorted(missing))}")
    assignments = [given for given in book.assignments if not numbers or given.name[:2] in numbers]
    assignments.sort(key=lambda given: given.name)
    rows, waiting, unmarked = [], defaultdict(list), defaultdict(list)
    for student in sorted(book.students, key=lambda student: (student.last_name or "", student.id)):
        points: dict[str, float | None] = {}
        for given in assignments:
            try:
                submission = book.find_submission(given.name, student.id)
            except MissingEntry:
                points[given.name] = None
                continue
            points[given.name] = max(0.0, submission.score - submission.late_submission_penalty)
            if _never_marked(submission):
                unmarked[given.name].append(student.id)
            elif submission.needs_manual_grade:
                waiting[given.name].append(student.id)
        known = (student.first_name, student.last_name, student.email, student.lms_user_id)
        rows.append(Row(student.id, *(value or "" for value in known), points))
    return {given.name: given.max_score for given in assignments}, rows, waiting, unmarked


def _never_marked(submission: SubmittedAssignment) -> bool:
    """Whether autograding has not come to its end: then nbgrader lists all cells as waiting for a person."""
    grades = (grade for notebook in submission.notebooks for grade in notebook.grades)
    return any(grade.auto_score is None for grade in grades if grade.name.endswith("-check"))


def moodle(most: dict[str, float], rows: list[Row]) -> list[list[str]]:
    """Lines for Moodle's "Import: CSV file": its own export's columns; a dash is no mark.

    On import set *Map from* to `Email address` (or `ID number`) and *Map to* to the same of the user. An
    unknown address is not left empty: some versions of Moodle give a line without a user to the user before
    it, while one that names nobody stops the import.
    """
    lines = [["First name", "Last name", "ID number", "Email address", *most]]
    for row in rows:
        who = [row.first_name, row.last_name, row.student, row.email or UNKNOWN]
        lines.append([*who, *(_number(row.points[lesson], "-") for lesson in most)])
    return lines


def canvas(most: dict[str, float], rows: list[Row]) -> list[list[str]]:
    """Lines for Canvas's gradebook import: its five columns of a student, and the row of possible points.

    Canvas finds a student by ID, else by SIS login ID (nbgrader's own id here), else by name.
    """
    lines = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *most]]
    lines.append(["    Points Possible", "", "", "", "", *map(_number, most.values())])
    for row in rows:
        name = ", ".join(filter(None, [row.last_name, row.first_name])) or row.student
        who = [name, row.platform_id, "", row.student, ""]
        lines.append([*who, *(_number(row.points[lesson]) for lesson in most)])
    return lines


def plain(most: dict[str, float], rows: list[Row]) -> list[list[str]]:
    """Lines of a plain table, with each student's sum and the most that can be had."""
    lines = [["student", "last_name", "first_name", "email", *most, "sum", "of"]]
    for row in rows:
        total = sum(points or 0.0 for points in row.points.values())
        who = [row.student, row.last_name, row.first_name, row.email]
        numbers = [*(row.points[lesson] for lesson in most), total, sum(most.values())]
        lines.append([*who, *map(_number, numbers)])
    return lines


def _number(value: float | None, none: str = "") -> str:
    return none if value is None else f"{round(value, 2):g}"


FORMATS: dict[str, Callable] = {"moodle": moodle, "canvas": canvas, "csv": plain}


# ---- command line -----------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(argv)
    if options.command == "sandbox":
        print(SAID[best_sandbox()])
        return 0
    if options.command == "seed":
        return _say_shared(options.seed, options.root)
    database = options.course / "gradebook.db"
    if not database.exists():
        print(f"grading: there is no {database}: give the course's folder with --course", file=sys.stderr)
        return 1
    with Gradebook(f"sqlite:///{database}") as book:
        try:
            most, rows, waiting, unmarked = marks(book, options.lessons)
        except ValueError as error:
            print(f"grading: {error}", file=sys.stderr)
            return 1
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(FORMATS[options.platform](most, rows))
    to = options.to or options.course / f"grades_{options.platform}.csv"
    to.write_text(text.getvalue(), encoding="utf-8")
    print(f"wrote {to}: {len(rows)} students, {len(most)} lessons")
    if waiting:
        print(f"open answers wait for a person, and count 0 where none has been: {_of(waiting)}")
    if unmarked:
        print(f"not marked, 0 points: {_of(unmarked)}; `nbgrader autograde LESSON` says why")
    if options.platform == "moodle" and (nameless := [row.student for row in rows if not row.email]):
        print(
            f"no e-mail address is known of {', '.join(nameless)}, and Moodle will refuse the file if you "
            "map `Email address`: map `ID number`, or give nbgrader a list of students"
        )
    return 0


def _of(students: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{lesson} of {', '.join(students[lesson])}" for lesson in sorted(students))


def _say_shared(seed: int, root: Path) -> int:
    os.environ.setdefault("MPLBACKEND", "Agg")
    with contextlib.chdir(root / "lessons"):
        shared = [
            name for path in lesson_files(root=root) for name in shared_numbers(read_lesson(path), seed)
        ]
    if shared:
        print(
            f"seed {seed}: the book's numbers are right for {', '.join(shared)}. Another seed may do better."
        )
    else:
        print(f"seed {seed}: no number of the book is right.")
    return 1 if shared else 0


SAID = {
    "bubblewrap": "bubblewrap: a submission has no network, no other processes, and no files but its own.",
    "network": "network: a submission has no network, but your rights to files. Install bubblewrap.",
    "none": "none: a submission has your rights; limits and a tripwire are all. Grade in a container.",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m minigrok.course.grading", description="Help for grading the course with nbgrader."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sandbox", help="what will hold a submission on this machine")
    command = commands.add_parser("seed", help="is a number of the book right for this class too?")
    command.add_argument("seed", type=int)
    command.add_argument("--root", type=Path, default=ROOT, help="clone of the repository")
    command = commands.add_parser("export", help="all marks as a file for another platform")
    command.add_argument("--for", dest="platform", choices=FORMATS, required=True)
    command.add_argument(
        "--course", type=Path, default=Path(), help="folder of the nbgrader course (default: here)"
    )
    command.add_argument("--to", type=Path, help="file to write (default: grades_PLATFORM.csv in the course)")
    command.add_argument("--lessons", nargs="+", default=[], metavar="NN", help="only these lessons")
    return parser


if __name__ == "__main__":
    sys.exit(main())

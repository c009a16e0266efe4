"""The cells of a lesson: what each one is, and a learner's first sight of it.

What a cell is stands in its metadata: `minigrok.part` (setup, card, answer, check, hints, open-answer, ...)
and `minigrok.exercise`, the exercise it belongs to.
"""

import hashlib
import re
import warnings
from pathlib import Path

import nbformat
from nbformat import NotebookNode

__all__ = [
    "BEGIN",
    "CODE_STUB",
    "END",
    "digest",
    "exercises",
    "part",
    "read_lesson",
    "remove_solution",
    "stub",
    "tags",
]

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
CODE_STUB = "...  # your code here"


def read_lesson(path: str | Path) -> NotebookNode:
    """The notebook at `path`; a ValueError that names the file where it is not a valid one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # cells without an id, or two with the same
            notebook = nbformat.read(path, as_version=4)
            nbformat.validate(notebook)
    except (ValueError, KeyError, AttributeError, nbformat.ValidationError, FutureWarning) as error:
        raise ValueError(f"{path} is not a valid notebook: {str(error).splitlines()[0]}") from error
    return notebook


def part(cell: NotebookNode) -> str | None:
    """What a cell is in its lesson: `setup`, `card`, `answer`, `check`, `hints`, ... or None."""
    return cell.metadata.get("minigrok", {}).get("part")


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def digest(source: str) -> str:
    """A short name of a cell's source, by which it is seen whether somebody has changed it.

    >>> digest("x = 1") == digest("x = 1"), digest("x = 1") == digest("x = 2")
    (True, False)
    """
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def exercises(notebook: NotebookNode) -> dict[str, dict[str, NotebookNode]]:
    """The exercises of a lesson in their order: name -> part -> cell."""
    found: dict[str, dict[str, NotebookNode]] = {}
    for cell in notebook.cells:
        if name := cell.metadata.get("minigrok", {}).get("exercise"):
            found.setdefault(name, {})[part(cell)] = cell
    return found


def remove_solution(source: str, where: str = "this cell") -> str:
    """Source with each region from `### BEGIN SOLUTION` to `### END SOLUTION` replaced by one stub line.

    Raises ValueError that names `where` if the markers do not pair up.

    >>> print(remove_solution("def f(x):\\n    ### BEGIN SOLUTION\\n    return x\\n    ### END SOLUTION"))
    def f(x):
        ...  # your code here
    """
    kept, opened = [], 0  # opened: line of the marker whose region we are in, 0 outside
    for number, line in enumerate(source.split("\n"), start=1):
        if BEGIN in line and opened:
            raise ValueError(
                f"{where}: `{BEGIN}` on line {number}, but the one on line {opened} is still open"
            )
        if END in line and not opened:
            raise ValueError(
                f"{where}: `{END}` on line {number} closes nothing; add `{BEGIN}` above the solution"
            )
        if BEGIN in line:
            kept.append(re.match(r"\s*", line)[0] + CODE_STUB)
            opened = number
        elif not opened:
            kept.append(line)
        elif END in line:
            opened = 0
    if opened:
        raise ValueError(
            f"{where}: `{BEGIN}` on line {opened} is never closed; add `{END}` below the solution"
        )
    return "\n".join(kept)


def stub(cell: NotebookNode, where: str) -> str:
    """The source of a code cell as a learner first sees it."""
    source = remove_solution(cell.source, where)
    if part(cell) == "answer" and source == cell.source:
        raise ValueError(f"{where}: this answer has no `{BEGIN}`, so its solution would be handed out")
    return source

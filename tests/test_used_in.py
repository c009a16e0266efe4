"""The last line of a docstring, "Used in lesson 08.", says which lessons call a function. Is it true?

A lesson uses a name that stands in its code cells. Where only the script that made its recording does, the
line says so; the first line of a script in experiments/ names its lesson.
"""

import ast
import importlib
import inspect
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    *("attacks", "data", "measures", "models", "naps", "networks", "recordings", "regions", "sweep"),
    *("theory", "training", "verify", "course.plots", "course.player"),
]


def named(source: str) -> set[str]:
    """The names of minigrok that Python source uses: "measures.gram" for `measures.gram` and for `gram`."""
    tree, meant = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minigrok":
            for name in node.names:
                full = f"{node.module}.{name.name}".removeprefix("minigrok.")
                meant[name.asname or name.name] = full
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in meant:
            found.add(meant[node.id])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in meant:
            found.add(f"{meant[node.value.id]}.{node.attr}")
    return found


def uses() -> tuple[dict[str, set[int]], dict[str, set[int]], set[int]]:
    """For each name the lessons that use it, and those whose recording's script does; and all lessons."""
    by_lesson, by_script, lessons = defaultdict(set), defaultdict(set), set()
    for path in (ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        lessons.add(int(path.name[:2]))
        for name in named(code):
            by_lesson[name].add(int(path.name[:2]))
    for path in (ROOT / "experiments").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        lesson = int(re.search(r"[Ll]esson (\d\d)", source.splitlines()[0])[1])
        for name in named(source):
            by_script[name].add(lesson)
    return by_lesson, by_script, lessons


LESSONS, SCRIPTS, ALL = uses()


def public():
    """(module, name, docstring) of every function and class that can be asked for."""
    for module in MODULES:
        for name, value in vars(importlib.import_module(f"minigrok.{module}")).items():
            ours = (inspect.isclass(value) or inspect.isfunction(value)) and not name.startswith("_")
            if ours and value.__module__.startswith(f"minigrok.{module}"):
                yield f"{module}.{name}", inspect.getdoc(value) or ""


def listed(lessons: set[int]) -> str:
    """ "lesson 08", "lessons 01 and 04", "lessons 08, 10 and 11", "lessons 12 to 14"."""
    numbers = [f"{n:02d}" for n in sorted(lessons)]
    if len(numbers) == 1:
        return f"lesson {numbers[0]}"
    if len(numbers) > 2 and max(lessons) - min(lessons) == len(numbers) - 1:
        return f"lessons {numbers[0]} to {numbers[-1]}"
    return f"lessons {', '.join(numbers[:-1])} and {numbers[-1]}"


def expected(name: str) -> str:
    """The line that says where a name is used; "" if nowhere."""
    direct = LESSONS[name]
    recorded = SCRIPTS[name] - direct
    of = "" if not recorded else f"the recording{'s' * (len(recorded) > 1)} of {listed(recorded)}"
    if not direct:
        return f"Used in {of}." if of else ""
    if direct == ALL:
        return "Used in every lesson."
    if len(direct) > len(ALL) / 2:
        return "Used in most lessons."
    return f"Used in {listed(direct)}, and in {of}." if of else f"Used in {listed(direct)}."


def said(doc: str) -> str:
    """The sentence that begins with "Used in", on one line; "" if there is none."""
    found = re.search(r"^Used in .*?\.$", doc, re.MULTILINE | re.DOTALL)
    return " ".join(found[0].split()) if found else ""


def test_every_line_on_lessons_is_true():
    wrong = []
    for name, doc in public():
        line, true = said(doc), expected(name)
        through = re.fullmatch(r"(Used in .*), through `(\w+)`\.", line)
        if through:
            other = expected(f"{name.rsplit('.', 1)[0]}.{through[2]}")
            right = not true and through[1] in (other.rstrip("."), other.split(", and in")[0])
        else:
            right = line == true or not (line or LESSONS[name])  # a script alone need not be named
        if not right:
            wrong.append(f"minigrok.{name} says {line!r}, true is {true!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from minigrok import measures\nmeasures.gram(x)", {"measures", "measures.gram"}),
        ("from minigrok.training import State as S\nS(model)", {"training.State"}),
        (
            "from minigrok.course import plots\nplots.regions(x).title",
            {"course.plots", "course.plots.regions"},
        ),
        ("import torch\ntorch.gram(x); gram = 3", set()),
    ],
)
def test_names_are_found_however_they_were_imported(source, names):
    assert named(source) == names


def test_lessons_are_listed_as_a_reader_would():
    assert [listed(s) for s in ({8}, {4, 1}, {8, 10, 11}, {12, 13, 14}, {3, 4})] == [
        "lesson 08", "lessons 01 and 04", "lessons 08, 10 and 11", "lessons 12 to 14", "lessons 03 and 04"
    ]  # fmt: skip

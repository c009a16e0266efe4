"""A control shows, whenever it is moved, what the text beside it speaks of, and disturbs nothing else.

A slider is moved after the whole notebook has run. What its function reads of the notebook should then still
be what it was at that slider: no later cell may give one of those names another value. And a cell that is run
again afterwards should find what it found before: the function may not change what it was lent.
"""

import ast
import symtable
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from minigrok.course.cells import read_lesson, tags

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "lessons").glob("*.ipynb"))
INTERACT = {"interact", "interact_manual", "interactive", "interactive_output"}
METHODS = {"observe", "on_click", "on_submit"}
# Lab takes the arrow keys away from these: with one in focus, a key moves the reader to another cell.
KEYLESS = {"Dropdown", "Select", "SelectMultiple", "RadioButtons", "ToggleButtons"}


def drifting(notebook: NotebookNode) -> list[str]:
    """What a control reads although a later cell changes it, one sentence each."""
    cells = [cell.source if cell.cell_type == "code" else "" for cell in notebook.cells]
    return [
        f"cell {k}: the control reads `{name}` when it is moved, but cell {later} changes it; "
        f"bind it as a default argument, or give one of the two a name of its own"
        for k in range(len(cells))
        for name in sorted(read_by_controls(cells, k))
        if (later := next((i for i in range(k + 1, len(cells)) if name in changed_by(cells[i])), None))
    ]


def disturbed(notebook: NotebookNode) -> list[str]:
    """What a control changes in place although it belongs to the notebook, one sentence each."""
    cells = [cell.source if cell.cell_type == "code" else "" for cell in notebook.cells]
    everywhere = set().union(*map(changed_by, cells))
    return [
        f"cell {k}: the control changes `{name}` of the notebook; let it work on a copy"
        for k in range(len(cells))
        for called in callbacks(cells[k])
        for body in [called if isinstance(called, ast.Lambda) else known_at(cells, k, ast.unparse(called))]
        for name in sorted(set(changed_in_place(body)) & everywhere if body else ())
    ]


def overtaken(notebook: NotebookNode) -> list[str]:
    """What the cell of a control reads of cells above and a later cell changes, one sentence each."""
    cells = [cell.source if cell.cell_type == "code" else "" for cell in notebook.cells]
    return [
        f"cell {k}: run again at the end it reads another `{name}`, since cell {later} changes it"
        for k in range(len(cells))
        if list(callbacks(cells[k]))
        for name in sorted(read_at_top(cells[k]))
        if any(name in changed_by(source) for source in cells[:k])
        if (later := next((i for i in range(k + 1, len(cells)) if name in changed_by(cells[i])), None))
    ]


def read_at_top(source: str) -> set[str]:
    """Names that a cell reads when it is run, and does not set itself."""
    symbols = symtable.symtable(source, "cell", "exec").get_symbols()
    return {s.get_name() for s in symbols if s.is_referenced()} - changed_by(source)


def keyless(source: str) -> list[str]:
    """The controls of a cell that do not answer to keys in Lab: `interact` makes one of any list or dict."""
    tree = ast.parse(source)
    named = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in KEYLESS]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    options = [k for call in calls if getattr(call.func, "id", None) in INTERACT for k in call.keywords]
    lists = (ast.List, ast.ListComp, ast.Dict, ast.DictComp, ast.Set)
    return named + [
        option.arg
        for option in options
        if isinstance(option.value, lists)
        or ast.unparse(option.value).startswith(("list(", "sorted(", "range("))
    ]


def read_by_controls(cells: list[str], k: int) -> set[str]:
    """Notebook names that the controls of cell k read when moved, also by way of the functions they call."""
    waiting, seen = set().union(*map(read_when_called, callbacks(cells[k]))), set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        body = known_at(cells, k, name)
        waiting |= (read_when_called(body) if body else set()) - seen
    return {name for name in seen if any(name in changed_by(source) for source in cells)}


def callbacks(source: str) -> Iterator[ast.expr]:
    """What the controls of a cell are to call: a function's name, a lambda, or another expression."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", None) if isinstance(node.func, ast.Name) else None
            method = node.func.attr if isinstance(node.func, ast.Attribute) else None
            if {name, method} & INTERACT or method in METHODS:
                yield node.args[0]
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                called = mark.func if isinstance(mark, ast.Call) else mark
                if getattr(called, "id", getattr(called, "attr", None)) in INTERACT:
                    yield ast.Name(node.name)


def read_when_called(node: ast.AST) -> set[str]:
    """The global names that a function reads in its body; its defaults were read when it was made."""
    table = symtable.symtable(ast.unparse(node), "cell", "exec")
    names = set() if isinstance(node, ast.FunctionDef) else {s.get_name() for s in table.get_symbols()}
    inner = table.get_children()
    while inner:
        scope = inner.pop()
        inner += scope.get_children()
        names |= {s.get_name() for s in scope.get_symbols() if s.is_global() and s.is_referenced()}
    return names


def known_at(cells: list[str], k: int, name: str) -> ast.AST | None:
    """The function that `name` means at cell k: the last one of that name so far."""
    return next((found for i in range(k, -1, -1) if (found := function(cells[i], name))), None)


def function(source: str, name: str) -> ast.AST | None:
    """The last `def` (or lambda with a name) of that name at the top of a cell."""
    found = None
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            found = node
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            found = node.value if name in map(ast.unparse, node.targets) else found
    return found


def changed_by(source: str) -> set[str]:
    """Names a cell assigns, imports or defines, and those whose parts it assigns (`a[0] = `, `a.b = `)."""
    table = symtable.symtable(source, "cell", "exec")
    names = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    return names.union(changed_in_place(ast.parse(source)))


def changed_in_place(node: ast.AST, own: frozenset[str] = frozenset()) -> Iterator[str]:
    """Names of the notebook whose parts are assigned, or which a method such as `fill_` overwrites."""
    if isinstance(node, ast.FunctionDef | ast.Lambda):  # own: names that mean something else in here
        inside = list(ast.walk(node))
        own |= {inner.arg for inner in inside if isinstance(inner, ast.arg)}
        own |= {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if isinstance(node, ast.Global):
        yield from node.names
    part = getattr(node, "func", node)  # of a call, what is called
    method = isinstance(node, ast.Call) and isinstance(part, ast.Attribute) and part.attr.endswith("_")
    if method or isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
        whole = part
        while isinstance(whole, ast.Subscript | ast.Attribute):
            whole = whole.value
        if whole is not part and isinstance(whole, ast.Name) and whole.id not in own:
            yield whole.id
    for child in ast.iter_child_nodes(node):
        yield from changed_in_place(child, own)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_control_moved_later_shows_what_it_showed_at_its_place(path):
    assert drifting(read_lesson(path)) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_control_changes_nothing_of_the_notebook(path):
    assert disturbed(read_lesson(path)) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_controls_of_a_lesson_are_found(path):
    """A control that this file does not see is one that it does not test."""
    for cell in read_lesson(path).cells:
        if cell.cell_type == "code":
            assert bool(list(callbacks(cell.source))) == ("widget" in tags(cell)), cell.source


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_control_can_be_made_again_when_the_lesson_has_run(path):
    assert overtaken(read_lesson(path)) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_control_answers_to_keys(path):
    found = [keyless(cell.source) for cell in read_lesson(path).cells if cell.cell_type == "code"]
    assert sum(found, []) == [], "Lab keeps the arrow keys for itself: take a SelectionSlider"


# ---- the test itself, on small notebooks that are spoilt -------------------------------------------------

SHOW = "def show(n=1):\n    print(scale * n)\n\n\ninteract(show, n=(1, 3))"
BOUND = "def show(n=1, scale=scale):\n    print(scale * n)\n\n\ninteract(show, n=(1, 3))"
BY_WAY = "interact(lambda n: twice(n), n=(1, 3))"
NESTED = "def show(n=1):\n    print([scale * k for k in range(n)])\n\n\ninteract(show, n=(1, 3))"
CLICK = "button = Button()\nbutton.on_click(lambda _: print(scale))"
MARKED = "@interact(n=(1, 3))\ndef show(n=1):\n    print(scale * n)"
LOCAL = "def show(n=1):\n    scale = 2\n    print(scale * n)\n\n\ninteract(show, n=(1, 3))"
FIRST = "scale = 2\n\n\ndef twice(n):\n    return scale * n"


@pytest.mark.parametrize("control", [SHOW, BY_WAY, NESTED, CLICK, MARKED])
@pytest.mark.parametrize(
    "later",
    [
        "scale = 3",
        "for scale in range(3):\n    pass",
        "def scale(n):\n    return n",
        "import scale",
        "scale += 1",
        "scale[0] = 3",
        "scale.size = 3",
        "del scale.size",
        "scale.weight.fill_(3)",
        "def again():\n    scale[0] = 3\n\n\nagain()",
        "print(scale := 3)",
        "def again():\n    global scale\n    scale = 3",
    ],
)
def test_a_control_that_reads_a_name_given_again_later_is_told(control, later):
    problems = drifting(spoilt(FIRST, control, "assert 1", later))
    assert len(problems) == 1 and problems[0].startswith("cell 1: the control reads `scale`"), problems
    assert "cell 3 changes it" in problems[0]


@pytest.mark.parametrize(
    "cells",
    [
        (FIRST, SHOW, "print(scale)"),  # read later, not changed
        (FIRST, "scale = 3", SHOW),  # changed before the control
        (FIRST, BOUND, "scale = 3"),  # bound when the function is made
        (FIRST, LOCAL, "scale = 3"),  # a name of the function's own
        (FIRST, SHOW, "def other(scale):\n    scale = 3\n    return scale"),
        (FIRST, SHOW, "print([scale for scale in range(3)])"),
        (FIRST, SHOW, "def other():\n    scale = {}\n    scale[0] = 3\n    return scale"),
        (FIRST, SHOW, "copy = scale.clone()\ncopy.fill_(3)"),
        (FIRST, "show = twice\ntrain(1, observe=show)", "scale = 3"),  # no control
    ],
)
def test_a_control_that_keeps_what_it_reads_is_not_told(cells):
    assert drifting(spoilt(*cells)) == []


def test_a_function_that_is_written_again_later_is_told():
    again = "def twice(n):\n    return 3 * n"
    assert "reads `twice`" in drifting(spoilt(FIRST, BY_WAY, again))[0]
    other = "def twice(n):\n    return other * n"  # the one before the control counts, not the first
    assert "reads `other`" in drifting(spoilt(FIRST, other, "other = 1", BY_WAY, "other = 2"))[0]


@pytest.mark.parametrize("change", ["scale[0] = n", "scale.size = n", "scale[0].fill_(n)", "global scale"])
def test_a_control_that_changes_the_notebook_is_told(change):
    control = f"def show(n=1):\n    {change}\n    print(scale)\n\n\ninteract(show, n=(1, 3))"
    told = ["cell 1: the control changes `scale` of the notebook; let it work on a copy"]
    assert disturbed(spoilt(FIRST, control)) == told
    earlier = control.split("\n\n\n")[0], "interact(show, n=(1, 3))"
    assert disturbed(spoilt(FIRST, *earlier)) == [told[0].replace("cell 1", "cell 2")]
    copied = control.replace("    scale", "    scale = copy.deepcopy(first)\n    scale")
    assert "global" in change or disturbed(spoilt("first = [2]", copied)) == []


def test_a_button_that_changes_the_notebook_is_told():
    button = "button = Button()\nbutton.on_click(lambda _: scale.add_(1))"
    assert disturbed(spoilt(FIRST, button)) == [
        "cell 1: the control changes `scale` of the notebook; let it work on a copy"
    ]


def spoilt(*cells: str) -> NotebookNode:
    return new_notebook(cells=[new_code_cell(source) for source in cells])


@pytest.mark.parametrize("top", ["interact(twice, n=(1, scale))", "n = scale\ninteract(twice, n=(1, n))"])
def test_a_control_made_of_a_name_given_again_later_is_told(top):
    assert [line.split(",")[0] for line in overtaken(spoilt(FIRST, top, "scale = 3"))] == [
        "cell 1: run again at the end it reads another `scale`"
    ]
    assert overtaken(spoilt(FIRST, top, "print(scale)")) == []
    assert overtaken(spoilt(FIRST, "scale = 1\n" + top, "scale = 3")) == []  # it sets the name itself


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("interact(f, n=Dropdown(options=[1, 2]))", ["Dropdown"]),
        ("box = SelectMultiple(options=[1])", ["SelectMultiple"]),
        ("interact(f, n=[1, 2], m=list(steps), k=(1, 3))", ["n", "m"]),
        ("interact(f, n=SelectionSlider(options=[1, 2]), m=IntSlider(1), k=box)", []),
    ],
)
def test_a_control_without_keys_is_told(source, found):
    assert keyless(source) == found

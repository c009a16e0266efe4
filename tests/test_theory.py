"""minigrok.theory as a whole: what it needs, and what its docstrings owe the reader."""

import ast
import inspect
import sys
from pathlib import Path

import pytest

from minigrok import theory

FILES = sorted(Path(theory.__file__).parent.glob("*.py"))
FUNCTIONS = [getattr(theory, name) for name in theory.__all__ if inspect.isfunction(getattr(theory, name))]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_needs_numpy_and_scipy_alone(file):
    packages = {name.split(".")[0] for name in imported(file)} - set(sys.stdlib_module_names)
    assert packages <= {"minigrok", "numpy", "scipy"}


def test_all_its_names_are_there_in_order_and_in_the_list_at_the_top():
    assert theory.__all__ == sorted(theory.__all__)
    for function in FUNCTIONS:
        assert function.__name__ in theory.__doc__


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_function_comes_with_an_example(function):
    assert ">>> " in inspect.getdoc(function)

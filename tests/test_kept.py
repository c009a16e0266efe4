"""What nbval has run once, the book shows: tests/kept.py on two small notebooks."""

import os
import subprocess
import sys
from pathlib import Path

import kept
import pytest
from jupyter_cache import get_cache
from nbformat import NO_CONVERT, read, write
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from minigrok.course.editions import book_edition

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def lesson(*sources: str):
    cells = [new_markdown_cell("# A lesson"), *map(new_code_cell, sources)]
    return new_notebook(cells=cells, metadata=KERNEL)


GOOD = lesson("print('one')\nprint('two')", "x = 3", "x", "x;", "x;  # quiet too")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where a lesson is kept that runs to its end, and not one that fails."""
    folder = tmp_path_factory.mktemp("kept")
    write(GOOD, folder / "good.ipynb")
    write(lesson("x = 3", "x / 0"), folder / "bad.ipynb")
    (folder / "out").mkdir()
    options = ["-p", "tests.kept", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    command = [sys.executable, "-m", "pytest", *options, folder / "good.ipynb", folder / "bad.ipynb"]
    env = os.environ | {kept.FOLDER: str(folder / "out")}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, encoding="utf-8")
    assert "1 failed, 6 passed" in run.stdout, run.stdout + run.stderr
    return folder / "out"


def test_a_lesson_is_kept_with_what_its_cells_show_if_all_of_them_run(folder):
    assert [path.name for path in folder.iterdir()] == ["good.ipynb"]
    notebook = read(folder / "good.ipynb", NO_CONVERT)
    first, second, third, *quiet = (cell.outputs for cell in notebook.cells[1:])
    assert [output.text for output in first] == ["one\ntwo\n"]
    assert [output.data["text/plain"] for output in third] == ["3"]
    assert second == [] and quiet == [[], []]
    assert notebook.metadata.seconds > 0


def test_the_build_of_a_book_finds_what_was_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(kept.FOLDER, str(folder))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "_config.yml").write_text("execute:\n  execute_notebooks: force\n  timeout: 9\n")
    kept.take_outputs(tmp_path / "source")
    settings = (
        f'execute:\n  execute_notebooks: cache\n  cache: "{(tmp_path / "kept").as_posix()}"\n  timeout: 9\n'
    )
    assert (tmp_path / "source" / "_config.yml").read_text() == settings
    _, found = get_cache(tmp_path / "kept").merge_match_into_notebook(book_edition(GOOD, "good"))
    assert found.cells[1].outputs[0].text == "one\ntwo\n" and "Download" in found.cells[0].source
    with pytest.raises(KeyError):  # another cell: the book runs the lesson itself
        get_cache(tmp_path / "kept").match_cache_notebook(book_edition(lesson("x = 4"), "good"))

"""A plugin for nbval: what the cells of a lesson show is kept, so that the book need not run them again.

    MINIGROK_KEPT=FOLDER python -m pytest -p tests.kept --nbval-lax lessons/*.ipynb

A lesson in which a cell fails is not kept. `take_outputs` hands the kept ones to the build of a book.
"""

import os
import time
from pathlib import Path

import nbformat
import pytest
from IPython.core.displayhook import DisplayHook

FOLDER = "MINIGROK_KEPT"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    start = time.time()
    yield  # a cell that fails raises here
    cell, lesson = item.cell, item.parent.nb
    cell.outputs, cell.execution_count = shown(cell, item.test_outputs), item.cell_num + 1
    lesson.metadata.seconds = lesson.metadata.get("seconds", 0.0) + time.time() - start
    if all(cell.execution_count for cell in lesson.cells if cell.cell_type == "code"):
        written = Path(os.environ[FOLDER], f"{item.path.stem}.part")
        nbformat.write(lesson, written)
        written.rename(written.with_suffix(".ipynb"))  # whole, whenever the book's build looks


def shown(cell, outputs: list) -> list:
    """What a notebook shows: not the value of a last line with a semicolon, which nbval notes too."""
    quiet = DisplayHook.semicolon_at_end_of_expression(cell.source)
    return nbformat.from_dict([o for o in outputs if not (quiet and o["output_type"] == "execute_result")])


def take_outputs(source: Path) -> None:
    """Let the build of the book in `source` take from a cache what the kept lessons have shown.

    A lesson whose cells are not to the letter those of the book is run by the build, as all are without this.
    """
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn

    from minigrok.course.editions import book_edition

    cache = get_cache(source.parent / "kept")
    for path in sorted(Path(os.environ[FOLDER]).glob("*.ipynb")):
        lesson = nbformat.read(path, as_version=4)
        lesson.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
        bundle = CacheBundleIn(
            book_edition(lesson, path.stem), path.name, data={"execution_seconds": lesson.metadata.seconds}
        )
        cache.cache_notebook_bundle(bundle, check_validity=False)
    config = source / "_config.yml"
    force, kept = "execute_notebooks: force", f'execute_notebooks: cache\n  cache: "{cache.path.as_posix()}"'
    text = config.read_text(encoding="utf-8")
    assert force in text
    config.write_text(text.replace(force, kept), encoding="utf-8")

"""A lesson worked in a live JupyterLab in a real browser: run all, move a control, scrub a moving figure.

Lab gets settings of its own and opens a copy of the workbook, so it touches neither the reader's nor ours.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from browser import browser, visit  # noqa: F401

from minigrok.course import editions

ROOT = Path(__file__).resolve().parents[1]
MINUTE = 60_000  # milliseconds, as playwright counts
WINDOW = {"width": 1300, "height": 900}

CONTROL_AND_FILM = [
    """import numpy as np
from ipywidgets import IntSlider, interact
from minigrok.course.player import player
interact(lambda width: print("twice the width is", 2 * width), width=IntSlider(3, 1, 9));""",
    """grey = [np.full((40, 60, 3), shade, dtype=np.uint8) for shade in (0, 128, 255)]
player([0, 1, 10], {"accuracy": [0.5, 0.7, 1.0]}, {"map": grey}, title="Dawn", alt="White.")""",
]


def small_notebook() -> nbformat.NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source) for source in CONTROL_AND_FILM]
    cells[0].metadata["tags"] = ["widget"]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A workbook, as a learner gets it, with one small notebook more."""
    made = tmp_path_factory.mktemp("lab") / "workbook"
    editions.workbook(made, root=ROOT)
    nbformat.write(small_notebook(), made / "small.ipynb")
    return made


@pytest.fixture(scope="module")
def lab(folder):
    """The address of a JupyterLab that serves the workbook; it knows no settings but its own."""
    own = folder.parent
    off = ["@jupyterlab/apputils-extension:announcements", "@jupyter/nbgrader"]
    write(own / "config" / "labconfig" / "page_config.json", {"disabledExtensions": dict.fromkeys(off, True)})
    # all cells in the page at once, else those below the window have no output to look at
    tracker = own / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    write(tracker, {"windowingMode": "none"})
    env = {**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"), "OMP_NUM_THREADS": "1"}
    env |= {f"JUPYTER_{name}_DIR": str(own / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    env.pop("MPLBACKEND", None)
    port = free_port()
    options = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token="]
    options += ["--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True"]
    command = [sys.executable, "-m", "jupyterlab", *options]
    with open(own / "lab.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, server, own / "lab.log")
        yield address
    finally:
        server.terminate()
        server.wait(20)


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Return when Lab answers; fail with what it wrote when it does not within a minute."""
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text(encoding="utf-8")[-2000:]
            time.sleep(0.5)
    pytest.fail(log.read_text(encoding="utf-8")[-2000:])


# --- what a learner does -----------------------------------------------------------------------------------

# of the cells that are unfolded: a folded one (Colab's) shows no number
CELLS = ".jp-Notebook .jp-CodeCell .jp-InputPrompt:not(.jp-Placeholder-prompt)"
PROMPTS = f"[...document.querySelectorAll('{CELLS}')].map(prompt => prompt.textContent)"


def run_all(page) -> None:
    """Wait for the kernel, run all cells, and wait until the last is done."""
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=MINUTE)
    for _ in range(20):  # an early request can be lost: ask again until a prompt changes
        page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_timeout(1000)
        if re.search(r"\[[*\d]", "".join(page.evaluate(PROMPTS))):
            break
    left, waiting = [0], 0
    while left and waiting < 10:  # ten seconds of an idle kernel: it has stopped
        page.wait_for_timeout(1000)
        waiting = waiting + 1 if page.locator("#jp-main-statusbar").get_by_text("| Idle").count() else 0
        left = [place for place, text in enumerate(page.evaluate(PROMPTS)) if not re.search(r"\d", text)]
    assert not left, f"cells {left} did not run: {failures(page)}"


def failures(page) -> dict[int, str]:
    """What each failed code cell says, by its place among the code cells."""
    return {
        place: cell.locator(ERROR).inner_text()
        for place, cell in enumerate(page.locator(".jp-Notebook .jp-CodeCell").all())
        if cell.locator(ERROR).count()
    }


ERROR = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"


def slide(page) -> None:
    """Move the first control by a key, and wait until what it shows has changed."""
    control = page.locator(".widget-interact").first
    result = control.locator(".jp-OutputArea").first
    before = result.inner_html()
    handle = control.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    handle.focus()
    page.keyboard.press("ArrowRight")
    for _ in range(300):
        if result.inner_html() not in ("", before):
            return
        page.wait_for_timeout(100)
    pytest.fail("the control was moved and nothing changed within half a minute")


def scrub(page) -> None:
    """Move the first moving figure by its keys; Lab must not take the arrows for itself."""
    player = page.locator(".mgp").first
    bar, picture = player.get_by_role("slider"), player.locator(".mgp-picture img").first
    bar.scroll_into_view_if_needed()
    bar.focus()
    page.keyboard.press("Home")
    assert bar.input_value() == "0"
    first = picture.get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert bar.input_value() == "1"
    page.keyboard.press("End")
    assert picture.get_attribute("src") != first


def test_a_control_and_a_moving_figure_answer_in_lab(lab, visit):  # noqa: F811
    page = visit(f"{lab}/lab/workspaces/small/tree/small.ipynb", viewport=WINDOW)
    run_all(page)
    assert failures(page) == {}
    slide(page)
    assert "twice the width is 8" in page.locator(".widget-interact").inner_text()
    scrub(page)
    assert visit.outside == []


@pytest.mark.parametrize("lesson", ["01"])
def test_a_lesson_is_worked_in_lab(lab, folder, visit, lesson):  # noqa: F811
    """The untouched workbook runs to its end; only checks complain, and in few words."""
    (path,) = folder.glob(f"{lesson}_*.ipynb")
    page = visit(f"{lab}/lab/workspaces/{path.stem}/tree/{path.name}", viewport=WINDOW)
    run_all(page)
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    failed = failures(page)
    assert {place for place, cell in enumerate(code) if editions.part(cell) == "check"} == set(failed)
    for text in failed.values():
        assert len(text.splitlines()) <= 5 and "Traceback" not in text, text
    slide(page)
    assert visit.outside == []

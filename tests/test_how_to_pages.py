"""The pages "Your own model" and "Troubleshooting" say what the library does. Nothing is built here."""

import ast
import inspect
import re
from pathlib import Path

import matplotlib
import pytest
import torch

from minigrok import _images, attacks, measures, naps

ROOT = Path(__file__).resolve().parents[1]
OWN_MODEL = (ROOT / "book" / "own_model.md").read_text(encoding="utf-8")
TROUBLE = (ROOT / "book" / "troubleshooting.md").read_text(encoding="utf-8")


# --- troubleshooting ---------------------------------------------------------------------------------------


def templates() -> list[re.Pattern]:
    """Every text of the source with 20 letters of its own, as a pattern with `.*` for what is filled in."""
    found = []
    for path in [ROOT / "tasks.py", *(ROOT / "minigrok").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = node.values
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node]
            else:
                continue
            fixed = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            if sum(len(text) for text in fixed if text) >= 20:
                pattern = "".join(
                    ".*" if text is None else re.escape(re.sub(r"\s+", " ", text)) for text in fixed
                )
                found.append(re.compile(pattern, re.DOTALL))
    return found


def messages() -> list[str]:
    quoted = re.findall(r"```text\n(.*?)```", TROUBLE, re.DOTALL)
    return [" ".join(text.split()).removeprefix("minigrok: ") for text in quoted]


def test_every_message_on_the_page_is_one_that_the_library_says():
    said = templates()
    assert len(messages()) > 20
    for message in messages():
        assert any(pattern.fullmatch(message) for pattern in said), f"nobody says: {message}"


def test_a_message_that_nobody_says_would_be_found():
    invented = "the weights are not a number at step 340. Try a lower learning rate, it may help you"
    assert not any(pattern.fullmatch(invented) for pattern in templates())


def test_the_table_of_data_sets_is_that_of_the_code():
    for source in (_images.MNIST, _images.CIFAR10, _images.CIFAR100, _images.IMAGENETTE):
        name = source.name.split(" (")[0]
        (row,) = re.findall(rf"(?m)^\| {re.escape(name)} \|.*$", TROUBLE)
        assert f"`{source.folder}/`" in row
        assert all(f"`{file}`" in row for file in source.sha256)


def test_what_saves_memory_is_an_argument():
    for function in (attacks.fgsm, attacks.pgd, attacks.apgd, attacks.square):
        assert "batch_size" in inspect.signature(function).parameters
    assert "`batch` of `naps.mine`" in TROUBLE and "batch" in inspect.signature(naps.mine).parameters
    assert "samples" in inspect.signature(measures.hessian_trace).parameters


# --- your own model ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worked() -> dict[str, object]:
    """The names after all cells of the page, run from the top, and what they printed as `printed`."""
    names: dict[str, object] = {"printed": []}
    names["print"] = lambda *texts, sep: names["printed"].extend(" ".join(str(t).split()) for t in texts)
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    with torch.random.fork_rng(), matplotlib.rc_context():
        for cell in re.findall(r"```\{code-cell\}[^\n]*\n(.*?)```", OWN_MODEL, re.DOTALL):
            exec(re.sub(r"\A---\n.*?\n---\n", "", cell, flags=re.DOTALL), names)
        matplotlib.pyplot.close("all")
    matplotlib.use(backend)
    return names


def test_the_page_runs_and_its_network_is_read_whole(worked):
    assert [layer.shape for layer in worked["network"].layers] == [(16,), (16,)]
    assert worked["cut"].euler == 1 and worked["cut"].n_regions > 100
    assert worked["report"].suspicions == []
    assert 0 < worked["found"].eps < worked["found"].refuted < float("inf")


def test_what_the_page_calls_refused_is_refused_for_its_own_reason(worked):
    reasons = "GELU|MaxPool2d|Softmax|training mode|sigmoid|product of two|must not depend|NaN|compiled|(3,)"
    reasons = reasons.split("|")
    refusals = worked["printed"][3:]  # the first three are patterns
    assert len(refusals) == len(reasons)
    for reason, text in zip(reasons, refusals, strict=True):
        assert reason in text


def test_what_the_page_hands_to_pandas_are_rows_of_plain_values(worked):
    handed = re.findall(r"pandas\.DataFrame\(([\w.]+)\)", OWN_MODEL)
    assert handed == ["table.records", "run.records", "records"]
    for rows in (worked["table"].records, worked["records"], worked["rows"]):
        assert len({tuple(row) for row in rows}) == 1 and len(rows) > 1
        assert all(type(value) in (int, float, str) for row in rows for value in row.values())
    assert len(worked["rows"]) == len(worked["run"].steps) * len(worked["ensemble"])


def test_pandas_is_on_the_page_as_text_alone():
    cells = "".join(re.findall(r"```\{code-cell\}.*?```", OWN_MODEL, re.DOTALL))
    assert "pandas" not in cells

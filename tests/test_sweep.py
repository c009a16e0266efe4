"""sweep: the same table from one process, several, and a cluster; stopped, failing and killed on the way."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest
import sweep_functions
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from minigrok import data, models, sweep

CELLS = sweep.grid(a=[2, 3, 7], b=[1, 10])
names = st.sampled_from(["width", "seed", "lr", "loss"])
values = st.one_of(st.integers(-5, 5), st.floats(-1, 1), st.text("abc", max_size=2), st.booleans(), st.none())


def products(table):
    return [record.get("product") for record in table.records]


@given(st.dictionaries(names, st.lists(values, min_size=1, max_size=3), min_size=1, max_size=3))
def test_a_grid_is_the_product_of_its_lists(axes):
    cells = sweep.grid(**axes)
    assert [tuple(cell.values()) for cell in cells] == list(itertools.product(*axes.values()))
    assert all(list(cell) == list(axes) for cell in cells)


def test_a_grid_takes_arrays_tensors_and_ranges():
    cells = sweep.grid(a=np.array([1, 2]), b=torch.tensor([0.5]), c=range(1))
    assert cells == [{"a": 1, "b": 0.5, "c": 0}, {"a": 2, "b": 0.5, "c": 0}]
    json.dumps(cells)


@pytest.mark.parametrize(
    "options", [{}, {"workers": 2}], ids=["in this process", "in two processes"]
)  # fmt: skip
def test_every_cell_once_in_order(options):
    table = sweep.run(sweep_functions.product, CELLS, **options)
    assert [(r["a"], r["b"], r["product"]) for r in table.records] == [
        (a, b, a * b) for a in (2, 3, 7) for b in (1, 10)
    ]
    elsewhere = {record["process"] for record in table.records} - {os.getpid()}
    assert bool(elsewhere) == bool(options)
    assert all(record["seconds"] >= 0 for record in table.records)
    assert not table.interrupted and not table.failed and len(table) == 6


@pytest.mark.parametrize("workers", [None, 2])
def test_cells_together_are_handed_over_as_lists(workers):
    table = sweep.run(sweep_functions.products, CELLS, together=4, workers=workers)
    assert products(table) == [2, 20, 3, 30, 7, 70]
    assert [record["size"] for record in table.records] == [4, 4, 4, 4, 2, 2]


@pytest.mark.parametrize(
    "function, options",
    [
        (sweep_functions.no_sevens, {}),
        (sweep_functions.no_sevens, {"workers": 2}),
        (sweep_functions.no_sevens_together, {"together": 3}),
    ],
)
def test_a_cell_that_fails_is_reported_and_the_rest_goes_on(function, options):
    table = sweep.run(function, CELLS, **options)
    assert products(table) == [2, 20, 3, 30, None, None]
    assert [record["error"] for record in table.failed] == [
        "ArithmeticError: seven, with b = 1", "ArithmeticError: seven, with b = 10"
    ]  # fmt: skip
    assert np.isnan(table.column("product")[-2:]).all()


def test_a_process_that_dies_takes_no_other_cell_with_it():
    table = sweep.run(sweep_functions.dies_at_seven, CELLS, workers=2)
    assert products(table) == [2, 20, 3, 30, None, None]
    assert {record["error"] for record in table.failed} == {"its process died (out of memory?)"}


def test_a_pool_that_breaks_as_a_job_is_handed_in_loses_no_cell(monkeypatch):
    handed_in = itertools.count()

    class Fragile(futures.ThreadPoolExecutor):  # sooner than processes, and all that matters is who raises
        def __init__(self, workers, *of_processes):
            super().__init__(workers)

        def submit(self, *job):
            if next(handed_in) == 1:
                raise futures.BrokenExecutor("a process died since the last look")
            return super().submit(*job)

    monkeypatch.setattr(sweep.futures, "ProcessPoolExecutor", Fragile)
    table = sweep.run(sweep_functions.product, CELLS[:4], workers=2)
    assert products(table) == [2, 20, 3, 30] and not table.failed


def test_the_progress_bar_counts_cells(capsys):
    sweep.run(sweep_functions.product, CELLS, together=1, progress=True)
    assert "/6 [" in capsys.readouterr().err
    sweep.run(sweep_functions.product, CELLS)
    assert capsys.readouterr().err == ""


def test_a_map_has_the_seeds_along_its_third_axis():
    cells = [c for c in sweep.grid(a=[3, 1, 2], b=[0.5, 0.25], seed=[0, 1]) if (c["a"], c["seed"]) != (1, 1)]
    table = sweep.run(lambda a, b, seed: {"score": 100 * a + b + 10 * seed}, cells)
    rows, columns, score = table.pivot("a", "b", "score")
    assert rows.tolist() == [1, 2, 3] and columns.tolist() == [0.25, 0.5]
    assert np.array_equal(score[:, :, 0], 100 * rows[:, None] + columns)
    assert np.isnan(score[0, :, 1]).all() and np.array_equal(score[1:, :, 1], score[1:, :, 0] + 10)


# --- networks of pairs, many at once ------------------------------------------------------------------------


def alone(cell):
    """The same run as a plain loop: one network, torch's own AdamW and cross-entropy."""
    options = {"fraction": cell["fraction"], "split": cell["split"], "seed": cell["seed"]}
    task = data.arithmetic(cell["operation"], cell["p"], **options)
    activation = {"relu": nn.ReLU, "square": models.Square}[cell["activation"]]
    generator = torch.Generator().manual_seed(cell["seed"])
    model = models.pair_mlp(
        cell["p"], cell["width"], activation=activation, scale=cell["scale"], generator=generator
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=cell["lr"], weight_decay=cell["weight_decay"], betas=(0.9, 0.98)
    )
    curves = {"train": [], "test": []}
    for step in range(cell["steps"] + 1):
        with torch.no_grad():
            for name, x, y in (("train", task.x_train, task.y_train), ("test", task.x_test, task.y_test)):
                curves[name].append((step, (model(x).argmax(1) == y).float().mean().item()))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(task.x_train), task.y_train).backward()
        if step < cell["steps"]:
            optimizer.step()
    norm = sum(w.square().sum().item() for w in model.parameters()) ** 0.5
    return curves, norm


def first(curve, level, every, steps):
    return next((t for t, a in curve if a >= level and (t % every == 0 or t == steps)), float("nan"))


def test_many_networks_at_once_do_what_each_does_alone():
    usual = {"p": 7, "width": 24, "steps": 60, "every": 7}
    names = ("operation", "activation", "fraction", "lr", "weight_decay", "seed", "split", "scale")
    varied = [
        ("add", "relu", 0.8, 0.01, 1.0, 0, "ordered", 1.0),
        ("random", "relu", 0.3, 0.03, 0.0, 1, "ordered", 1.0),
        ("add", "square", 0.6, 0.02, 3.0, 2, "ordered", 1.0),
        ("subtract", "relu", 0.5, 0.0, 1.0, 3, "ordered", 1.0),
        ("multiply", "relu", 0.7, 0.05, 0.3, 4, "unordered", 2.0),
    ]
    cells = [usual | dict(zip(names, settings, strict=True)) for settings in varied]
    for cell, found in zip(cells, sweep.grokking_times(cells), strict=True):
        curves, norm = alone(cell)
        assert found["train_accuracy"] == pytest.approx(curves["train"][-1][1], abs=1e-6)
        assert found["test_accuracy"] == pytest.approx(curves["test"][-1][1], abs=1e-6)
        assert found["norm"] == pytest.approx(norm, rel=1e-4)
        expected = first(curves["train"], 0.99, 7, 60)
        assert found["train_step"] == pytest.approx(expected, nan_ok=True)
    fitted = [found["train_step"] for found in sweep.grokking_times(cells)]
    assert np.isnan(fitted).any() and not np.isnan(fitted).all()  # both kinds were compared


def test_grokking_times_sweep_over_processes_too():
    cells = sweep.grid(p=[5], width=[8], steps=[10], seed=[0, 1, 2])
    here = sweep.run(sweep.grokking_times, cells, together=3)
    there = sweep.run(sweep.grokking_times, cells, together=2, workers=2)
    assert not here.failed and not there.failed
    np.testing.assert_allclose(here.column("norm"), there.column("norm"), rtol=1e-5)


@pytest.mark.parametrize(
    "cell, text",
    [
        ({"decay": 1.0}, "unknown setting decay; there are operation, p, width, activation, fraction"),
        ({"every": 0}, "every must be at least 1 step between two looks, got 0"),
        ({"activation": "gelu"}, "activation must be 'relu' or 'square', got 'gelu'"),
        ({"fraction": 1.0}, "fraction is the share of the table to train on, above 0 and below 1, got 1.0"),
        ({"operation": "divide", "p": 33}, "needs a prime p"),
    ],
)
def test_settings_that_cannot_be_trained(cell, text):
    with pytest.raises(ValueError, match=text):
        sweep.grokking_times([cell])
    (record,) = sweep.run(sweep.grokking_times, [cell], together=2).failed
    assert text.split(";")[0] in record["error"]


# --- on disk ------------------------------------------------------------------------------------------------


def counting(seen, fail=()):
    def function(a, b):
        seen.append((a, b))
        if a in fail:
            raise ValueError("not today")
        return {"product": a * b, "list": np.arange(a)}

    return function


def test_finished_cells_are_not_run_again_and_failed_ones_are(tmp_path):
    path, first, second = tmp_path / "new" / "sweep.jsonl", [], []
    failing = sweep.run(counting(first, fail=[3]), CELLS, path=path)
    assert len(first) == 6 and [record["a"] for record in failing.failed] == [3, 3]
    whole = sweep.run(counting(second), CELLS, path=path)
    assert second == [(3, 1), (3, 10)]
    assert products(whole) == [2, 20, 3, 30, 7, 70] and not whole.failed
    assert whole.records[0] == failing.records[0] and whole.records[0]["list"] == [0, 1]
    assert sweep.run(counting(second), CELLS, path=path).records == whole.records and len(second) == 2


def test_a_grid_may_grow(tmp_path):
    path, seen = tmp_path / "sweep.jsonl", []
    sweep.run(counting(seen), CELLS[:2], path=path)
    table = sweep.run(counting(seen), CELLS, path=path)
    assert len(seen) == 6 and len(table) == 6


def test_a_half_written_line_is_said_and_run_again(tmp_path):
    path, seen = tmp_path / "sweep.jsonl", []
    sweep.run(counting([]), CELLS, path=path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.warns(UserWarning, match="the last line of .* was half-written: that cell is run again"):
        table = sweep.run(counting(seen), CELLS, path=path)
    assert seen == [(7, 10)] and products(table) == [2, 20, 3, 30, 7, 70]
    assert len(path.read_bytes().splitlines()) == 7


def test_an_empty_file_is_begun(tmp_path):
    path = tmp_path / "sweep.jsonl"
    path.touch()
    assert len(sweep.run(counting([]), CELLS, path=path)) == 6
    assert len(path.read_bytes().splitlines()) == 7


@pytest.mark.parametrize("content", [b"hello\n", b'{"format": "minigrok sweep 1", "function": "other"}\n'])
def test_a_file_of_something_else_is_left_alone(tmp_path, content):
    path = tmp_path / "sweep.jsonl"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="line 1 of .* is not JSON|is not a file of this sweep: it begins with"
    ):
        sweep.run(counting([]), CELLS, path=path)
    assert path.read_bytes() == content


# --- stopped on the way -------------------------------------------------------------------------------------


def test_ctrl_c_returns_what_there_is_and_the_sweep_goes_on(tmp_path, capsys):
    path, seen = tmp_path / "sweep.jsonl", []

    def stopped_at_seven(a, b):
        if a == 7 and not seen:
            seen.append(a)
            raise KeyboardInterrupt
        return {"product": a * b}

    table = sweep.run(stopped_at_seven, CELLS, path=path)
    assert table.interrupted and products(table) == [2, 20, 3, 30]
    assert "Stopped after 4 of 6 cells" in capsys.readouterr().out
    again = sweep.run(stopped_at_seven, CELLS, path=path)
    assert not again.interrupted and products(again) == [2, 20, 3, 30, 7, 70]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_the_processes_too(tmp_path):
    script = (
        "import sweep_functions as f\nfrom minigrok import sweep\nif __name__ == '__main__':\n"
        f"    cells = sweep.grid(a=[1, 2, 3, 4], folder=[{str(tmp_path)!r}], wait=[60])\n"
        "    print(sweep.run(f.leaves_a_mark, cells, workers=2))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(list(tmp_path.glob("*.txt"))) == 2)
    children = [int(path.read_text()) for path in tmp_path.glob("*.txt")]
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert "Stopped after 0 of 4 cells" in out and "interrupted=True" in out
    wait_for(lambda: not any(alive(child) for child in children))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


# --- on a cluster -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    distributed = pytest.importorskip("distributed", reason="the sweep on a cluster needs dask.distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None,
            local_directory=str(tmp_path_factory.mktemp("dask")), silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        yield client


def test_a_function_that_the_workers_cannot_import_is_told_before_they_wait(client, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def f(a, b):\n    return {'sum': a + b}\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    text = "f cannot be read by the worker .*ModuleNotFoundError: No module named 'only_here'.*upload_file"
    with pytest.raises(ValueError, match=text):
        sweep.run(only_here.f, CELLS, client=client)
    travels = sweep.run(lambda a, b: {"sum": a + b}, CELLS, client=client)  # a function without a module
    assert travels.column("sum").tolist() == [a + b for a in (2, 3, 7) for b in (1, 10)]


def test_a_cluster_makes_the_same_table_and_survives_a_killed_worker(client, tmp_path):
    here = sweep.run(sweep_functions.no_sevens_together, CELLS, together=4)
    there = sweep.run(sweep_functions.no_sevens_together, CELLS, together=4, client=client)
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in there.records] == [
        {k: v for k, v in r.items() if k != "seconds"} for r in here.records
    ]
    marks = tmp_path / "marks"
    marks.mkdir()
    cells = sweep.grid(a=range(8), folder=[str(marks)], wait=[1.0])

    def kill_the_first():
        wait_for(lambda: any(path.stat().st_size for path in marks.glob("*.txt")))
        begun = next(path for path in marks.glob("*.txt") if path.stat().st_size)
        os.kill(int(begun.read_text().split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    path = tmp_path / "sweep.jsonl"
    table = sweep.run(sweep_functions.leaves_a_mark, cells, client=client, path=path)
    killer.join()
    assert table.column("square").tolist() == [a * a for a in range(8)] and not table.failed
    runs = [len(mark.read_text().split()) for mark in marks.glob("*.txt")]
    assert len(runs) == 8 and sum(runs) > 8  # the killed worker's cell was begun twice
    kept = [json.loads(line)["cell"] for line in path.read_text().splitlines()[1:]]
    assert len(kept) == len({*kept}) == 8  # and is there once


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: sweep.grid(), ValueError, "a grid needs at least one setting"),
        (lambda: sweep.grid(a=[]), ValueError, "a has no values, so the grid has no cells"),
        (
            lambda: sweep.grid(a="abc"),
            TypeError,
            "a must be a list of values, got 'abc': for one value write",
        ),
        (lambda: sweep.grid(a=3), TypeError, "a must be a list of values, got 3: for one value write [3]"),
        (lambda: sweep.grid(a=[object()]), TypeError, "'a' must be a number, text, or an array or list of"),
        (lambda: sweep.run(dict, []), ValueError, "there are no cells to run"),
        (lambda: sweep.run(dict, {"a": 1}), TypeError, "cells must be a list of dicts of settings"),
        (lambda: sweep.run(dict, [{"a": 1}] * 2), ValueError, 'but this one is there twice: {"a": 1}'),
        (lambda: sweep.run(dict, CELLS, together=0), ValueError, "together and workers must be at least 1"),
        (lambda: sweep.run(dict, CELLS, workers=0), ValueError, "together and workers must be at least 1"),
        (lambda: sweep.run(dict, CELLS, workers=2, client=1), ValueError, "not both"),
        (
            lambda: sweep.run(lambda a, b: {}, CELLS, workers=2),
            ValueError,
            "Put it into a module (a .py file)",
        ),
        (lambda: sweep.Table([{"a": 1}]).column("b"), KeyError, "no column 'b' in this table, only 'a'"),
    ],
)
def test_what_cannot_be_swept(make, error, text):
    with pytest.raises(error, match=re.escape(text)):
        make()


@pytest.mark.parametrize(
    "result, text",
    [
        (3, "TypeError: the function must return a dict of results for each cell, got 3"),
        ({"a": 3}, "ValueError: results may not be called a: the record has that already"),
        ({"seconds": 3}, "ValueError: results may not be called seconds"),
        (
            {"model": object()},
            "TypeError: 'model' must be a number, text, or an array or list of them, got object",
        ),
    ],
)
def test_results_that_cannot_be_kept_are_that_cells_error(result, text):
    (record,) = sweep.run(lambda a: result, [{"a": 1}]).records
    assert record["error"].startswith(text)


def test_a_batched_function_that_returns_too_few_is_told():
    table = sweep.run(lambda cells: [{}], CELLS, together=4)
    assert not table.failed  # four at a time it fails, one at a time it does not
    table = sweep.run(lambda cells: {}, CELLS, together=4)
    assert "must return a list of 1 dicts, one for each cell, got {}" in table.failed[0]["error"]

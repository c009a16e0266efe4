"""Run one function over a grid of settings: in this process, over several, or on a Dask cluster.

A cell is a dict of settings. Whatever runs it, the result is the same `Table`: finished cells are on disk as
soon as they are done, a cell that fails is reported while the rest goes on, and a sweep that was stopped goes
on where it was. Changing from a laptop to a cluster changes one argument of `run`. `grokking_times` is a
function to hand to it: networks of pairs on tables of arithmetic, many at once.
"""

import itertools
import json
import os
import pickle
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from minigrok import data, models, training
from minigrok._support import progress_bar
from minigrok.measures import first_reached, weight_norm
from minigrok.recordings import write_whole

FORMAT = "minigrok sweep 1"
Cell = dict[str, Any]
Record = dict[str, Any]


@dataclass
class Table:
    """What `run` returns: one record for each finished cell, in the order of the cells.

    Attributes:
        records: dicts of the cell's settings, its results and "seconds"; of a cell that failed its settings,
            "seconds" and "error". `pandas.DataFrame(table.records)` takes them as they are.
        interrupted: whether Ctrl-C ended the sweep early; the same call goes on if it has a `path`.
    """

    records: list[Record] = field(repr=False)
    interrupted: bool = False

    def __len__(self) -> int:
        return len(self.records)

    @property
    def failed(self) -> list[Record]:
        """The records of the cells that failed."""
        return [record for record in self.records if "error" in record]

    def column(self, name: str) -> np.ndarray:
        """One setting or result of all cells; NaN for cells that failed."""
        known = sorted({key for record in self.records for key in record})
        if name not in known:
            raise KeyError(f"no column {name!r} in this table, only {', '.join(map(repr, known))}")
        return np.array([record.get(name, np.nan) for record in self.records])

    def pivot(self, rows: str, columns: str, value: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One result as a map by two settings, with the others (seeds, say) along a third axis.

        Returns:
            The values of `rows` (R,), those of `columns` (C,), both ascending, and the map (R, C, n): n is
            the largest number of cells that share both settings, and NaN fills what is missing.

        Example:
            >>> cells = grid(width=[8, 16], decay=[0.0, 1.0], seed=[0, 1, 2])
            >>> table = run(lambda width, decay, seed: {"score": width * decay + seed}, cells)
            >>> widths, decays, score = table.pivot("width", "decay", "score")
            >>> np.median(score, axis=2)
            array([[ 1.,  9.],
                   [ 1., 17.]])
        """
        r, row = np.unique(self.column(rows), return_inverse=True)
        c, column = np.unique(self.column(columns), return_inverse=True)
        values = self.column(value)
        groups = {(i, j): values[(row == i) & (column == j)] for i in range(len(r)) for j in range(len(c))}
        filled = np.full((len(r), len(c), max(map(len, groups.values()))), np.nan)
        for (i, j), found in groups.items():
            filled[i, j, : len(found)] = found
        return r, c, filled


def grid(**axes: Iterable[Any]) -> list[Cell]:
    """All combinations of settings, the last one changing fastest.

    Args:
        **axes: for each setting a list, range, array or tensor of its values.

    Returns:
        A list of cells, dicts from setting to value.

    Raises:
        TypeError: one value in place of a list, or a value that no file can keep.
        ValueError: no settings, or a setting without values.

    Example:
        >>> grid(width=[8, 16], seed=range(2))
        [{'width': 8, 'seed': 0}, {'width': 8, 'seed': 1}, {'width': 16, 'seed': 0}, {'width': 16, 'seed': 1}]

    Used in lesson 07.
    """
    lists = {}
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(
                f"{name} must be a list of values, got {values!r}: for one value write [{values!r}]"
            )
        lists[name] = [_plain(name, value) for value in values]
        if not lists[name]:
            raise ValueError(f"{name} has no values, so the grid has no cells")
    if not lists:
        raise ValueError("a grid needs at least one setting: grid(weight_decay=[0, 1], seed=[0, 1, 2])")
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def run(
    function: Callable[..., Any],
    cells: Sequence[Cell],
    *,
    together: int = 1,
    workers: int | None = None,
    client: Any = None,
    path: str | os.PathLike | None = None,
    progress: bool = False,
) -> Table:
    """Call a function for every cell, and collect what it returns.

    Args:
        function: with together=1 it is called as `function(**cell)` and returns a dict of numbers, text or
            lists. Otherwise it is called with a list of up to `together` cells, which it may train as one
            batched model, and returns a list of as many dicts in their order (`grokking_times`).
        cells: dicts of settings, from `grid` or of your own; no two alike.
        together: how many cells one call takes.
        workers: number of processes, each with one torch thread. The function must then be importable: one
            that is defined in a notebook exists in no other process.
        client: a `dask.distributed.Client`; the cells run on its cluster. Those of a worker that dies are
            run again elsewhere. Its workers must be able to import minigrok, and the module that the function
            is from; one that is defined in a notebook travels with its cells.
        path: a file that keeps finished cells as they come, one line of JSON each. Called again with the same
            path, a sweep goes on: cells that have a result are not run again, those that failed are.
        progress: show a progress bar.

    Returns:
        A `Table`. Ctrl-C ends the sweep and returns what there is, with `interrupted=True`.

    A cell that raises is recorded with its "error". If a call for several cells raises, they are tried one by
    one, so that only the guilty one fails.

    Raises:
        ValueError: no cells, two alike, a path that belongs to a sweep of another function, or a function
            that other processes or the cluster cannot import.
        TypeError: cells or settings of a wrong kind.

    Example:
        >>> def area(width, height):
        ...     return {"area": width * height}
        >>> run(area, grid(width=[2, 3], height=[5])).column("area")
        array([10, 15])

    Used in lesson 07.
    """
    cells = _checked(cells, together, workers, client)
    known = {} if path is None else _read(Path(path), function)
    done = {key: known[key] for key in map(_key, cells) if "error" not in known.get(key, {"error": ""})}
    waiting = [cell for cell in cells if _key(cell) not in done]
    jobs = [waiting[i : i + together] for i in range(0, len(waiting), together)]
    interrupted = False
    with progress_bar(progress, len(done), len(cells), "cell") as bar, _Appender(path, function) as file:
        finished = _run_jobs(function, jobs, together > 1, workers, client)
        try:
            for records in finished:
                for record, cell in zip(*records, strict=True):
                    done[_key(cell)] = record
                    file.add(cell, record)
                if bar is not None:
                    bar.update(len(records[0]))
        except KeyboardInterrupt:
            interrupted = True
            print(f"Stopped after {len(done)} of {len(cells)} cells.")
        finally:
            finished.close()
    return Table([done[key] for key in map(_key, cells) if key in done], interrupted)


_USUAL: Cell = {
    "operation": "add", "p": 31, "width": 64, "activation": "relu", "fraction": 0.5, "split": "ordered",
    "scale": 1.0, "lr": 1e-2, "weight_decay": 1.0, "seed": 0, "steps": 1000, "every": 10,
}  # fmt: skip
_SHARED = ("p", "width", "activation", "steps", "every")  # what networks of one batched model have in common
_ACTIVATIONS = {"relu": nn.ReLU, "square": models.Square}


def grokking_times(cells: list[Cell]) -> list[Record]:
    """When do networks of pairs fit their training pairs, and when do they understand the rest?

    Every cell is one `models.pair_mlp` on one table, trained by full-batch AdamW (betas 0.9 and 0.98) with
    cross-entropy. Cells that agree in p, width, activation, steps and every train as one batched model,
    whatever their data, learning rate, weight decay or seed.

    Args:
        cells: dicts with any of operation ("add"), p (31), width (64), activation ("relu" or "square"),
            fraction (0.5), split ("ordered"), scale (1.0, of the initialisation), lr (0.01), weight_decay
            (1.0), seed (0: of data and weights), steps (1000) and every (10 steps between two looks).

    Returns:
        For each cell train_step and test_step, the first look with at least 99 % of the training and 95 % of
        the test pairs right (NaN: not by the end), and train_accuracy, test_accuracy and norm at the end.

    Raises:
        ValueError: a setting it does not know, or a value that `data.arithmetic` or `pair_mlp` refuses.

    Example:
        >>> (found,) = grokking_times([{"p": 5, "width": 8, "fraction": 0.8, "steps": 20}])
        >>> sorted(found)
        ['norm', 'test_accuracy', 'test_step', 'train_accuracy', 'train_step']

    Used in lesson 07.
    """
    full = [_complete(cell) for cell in cells]
    groups: dict[str, list[int]] = {}
    for i, cell in enumerate(full):
        groups.setdefault(_key({name: cell[name] for name in _SHARED}), []).append(i)
    found: dict[int, Record] = {}
    for members in groups.values():
        members.sort(key=lambda i: full[i]["fraction"])  # little to fill up among neighbours
        found |= dict(zip(members, _train_together([full[i] for i in members]), strict=True))
    return [found[i] for i in range(len(cells))]


def _complete(cell: Cell) -> Cell:
    unknown = sorted(cell.keys() - _USUAL.keys())
    if unknown:
        raise ValueError(f"unknown setting {', '.join(unknown)}; there are {', '.join(_USUAL)}")
    cell = _USUAL | cell
    if not cell["every"] >= 1:
        raise ValueError(f"every must be at least 1 step between two looks, got {cell['every']}")
    if cell["activation"] not in _ACTIVATIONS:
        raise ValueError(f"activation must be 'relu' or 'square', got {cell['activation']!r}")
    return cell


def _train_together(cells: list[Cell]) -> list[Record]:
    tasks = [
        data.arithmetic(c["operation"], c["p"], fraction=c["fraction"], split=c["split"], seed=c["seed"])
        for c in cells
    ]
    train_set = training.padded([(task.x_train, task.y_train) for task in tasks])
    test_set = training.padded([(task.x_test, task.y_test) for task in tasks])
    ensemble = training.Ensemble([_network(cell) for cell in cells])
    lr, decay = (torch.tensor([float(cell[name]) for cell in cells]) for name in ("lr", "weight_decay"))
    state = training.State(ensemble, training.EnsembleAdamW(ensemble.parameters(), lr=lr, weight_decay=decay))

    def look(state: training.State) -> Record:
        return {
            "train": training.accuracy(state.model, *train_set),
            "test": training.accuracy(state.model, *test_set),
            "norm": weight_norm(state.model),
        }

    steps, every = cells[0]["steps"], cells[0]["every"]
    at = [*range(0, steps, every), steps]
    step = training.classification_step()
    seen = training.train(step, state, steps=steps, batches=lambda t: train_set, observe=look, at=at)
    columns = {
        "train_step": first_reached(seen.steps, seen["train"], 0.99),
        "test_step": first_reached(seen.steps, seen["test"], 0.95),
        "train_accuracy": seen["train"][-1],
        "test_accuracy": seen["test"][-1],
        "norm": seen["norm"][-1],
    }
    return [{name: float(values[i]) for name, values in columns.items()} for i in range(len(cells))]


def _network(cell: Cell) -> models.PairMLP:
    return models.pair_mlp(
        cell["p"],
        cell["width"],
        activation=_ACTIVATIONS[cell["activation"]],
        scale=cell["scale"],
        generator=torch.Generator().manual_seed(cell["seed"]),
    )


# --- where the cells run ------------------------------------------------------------------------------------

Finished = tuple[list[Record], list[Cell]]


def _run_jobs(
    function: Callable, jobs: list[list[Cell]], batched: bool, workers: int | None, client: Any
) -> Iterator[Finished]:
    if client is not None:
        yield from _on_cluster(function, jobs, batched, client)
    elif workers is not None:
        yield from _in_processes(function, jobs, batched, workers)
    else:
        for job in jobs:
            yield _attempt(function, job, batched), job


def _attempt(function: Callable, cells: list[Cell], batched: bool) -> list[Record]:
    """Run one job; if it raises, its cells one by one, and of a single cell keep the error."""
    begun = time.perf_counter()
    try:
        results = _results(function, cells, batched)
    except Exception as error:
        if len(cells) > 1:
            return [record for cell in cells for record in _attempt(function, [cell], batched)]
        results = [{"error": "".join(traceback.format_exception_only(error)).strip()}]
    seconds = (time.perf_counter() - begun) / len(cells)
    return [{**cell, **found, "seconds": seconds} for cell, found in zip(cells, results, strict=True)]


def _attempt_alone(function: Callable, cells: list[Cell], batched: bool) -> list[Record]:
    torch.set_num_threads(1)  # several processes with several threads each would wait for one another
    return _attempt(function, cells, batched)


def _results(function: Callable, cells: list[Cell], batched: bool) -> list[Record]:
    results = function(cells) if batched else [function(**cells[0])]
    if not isinstance(results, list) or len(results) != len(cells):
        raise TypeError(
            f"the function must return a list of {len(cells)} dicts, one for each cell, got {results!r:.100}"
        )
    return [_result(cell, found) for cell, found in zip(cells, results, strict=True)]


def _result(cell: Cell, found: Any) -> Record:
    if not isinstance(found, dict):
        raise TypeError(f"the function must return a dict of results for each cell, got {found!r:.100}")
    taken = sorted({*cell, "seconds", "error"} & found.keys())
    if taken:
        raise ValueError(f"results may not be called {', '.join(taken)}: the record has that already")
    return {str(name): _plain(name, value) for name, value in found.items()}


def _in_processes(
    function: Callable, jobs: list[list[Cell]], batched: bool, workers: int
) -> Iterator[Finished]:
    """Jobs over processes. Where one dies, what it may have died of is run again cell by cell, alone."""
    _check_importable(function)
    suspects: list[list[Cell]] = []
    waiting = list(jobs)
    while waiting:
        waiting, lost = yield from _in_one_pool(function, waiting, batched, workers)
        suspects += [[cell] for job in lost for cell in job]
    for job in suspects:
        _, lost = yield from _in_one_pool(function, [job], batched, 1)
        if lost:
            yield [{**job[0], "error": "its process died (out of memory?)", "seconds": np.nan}], job


def _in_one_pool(
    function: Callable, jobs: list[list[Cell]], batched: bool, workers: int
) -> Iterator[Finished]:
    """Yields finished jobs; returns those that never began, and those that were lost as a process died."""
    # "spawn": a copy made by "fork" may hang on the locks of torch's threads.
    pool = futures.ProcessPoolExecutor(workers, get_context("spawn"), _leave_interrupts_to_the_parent)
    queue, running, lost = list(jobs), {}, []
    try:
        while queue or running:
            while queue and len(running) < workers and not lost:
                job = queue.pop(0)
                try:
                    running[pool.submit(_attempt_alone, function, job, batched)] = job
                except futures.BrokenExecutor:  # a process died since the last look
                    lost.append(job)
            for finished in futures.wait(running, return_when=futures.FIRST_COMPLETED).done:
                job = running.pop(finished)
                if isinstance(finished.exception(), futures.BrokenExecutor):
                    lost.append(job)
                else:
                    yield finished.result(), job
            if lost and not running:
                break
    finally:
        processes = list((pool._processes or {}).values()) if running else []
        pool.shutdown(wait=not running, cancel_futures=True)
        for process in processes:  # after Ctrl-C what is under way is not waited for
            process.terminate()
    return queue, lost


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_cluster(function: Callable, jobs: list[list[Cell]], batched: bool, client: Any) -> Iterator[Finished]:
    from distributed import as_completed

    _check_on_workers(function, client)
    submitted = {client.submit(_attempt_alone, function, job, batched, pure=False): job for job in jobs}
    try:
        for future in as_completed(list(submitted)):
            job = submitted[future]
            if future.status == "finished":
                yield future.result(), job
            else:
                reason = f"{type(future.exception()).__name__}: {future.exception()}"
                yield [{**cell, "error": reason, "seconds": np.nan} for cell in job], job
    finally:
        client.cancel([future for future in submitted if not future.done()])


# --- what is handed in --------------------------------------------------------------------------------------


def _checked(cells: Sequence[Cell], together: int, workers: int | None, client: Any) -> list[Cell]:
    if not isinstance(cells, Sequence) or not all(isinstance(cell, dict) for cell in cells):
        raise TypeError(f"cells must be a list of dicts of settings, as grid makes it, got {cells!r:.100}")
    if not cells:
        raise ValueError("there are no cells to run")
    if together < 1 or workers is not None and workers < 1:
        raise ValueError(f"together and workers must be at least 1, got {together} and {workers}")
    if workers is not None and client is not None:
        raise ValueError("give workers (processes here) or client (a Dask cluster), not both")
    plain = [{str(name): _plain(name, value) for name, value in cell.items()} for cell in cells]
    keys = [_key(cell) for cell in plain]
    twice = next((key for key in keys if keys.count(key) > 1), None) if len({*keys}) < len(keys) else None
    if twice is not None:
        raise ValueError(f"every cell is run once, but this one is there twice: {twice}")
    return plain


def _check_importable(function: Callable) -> None:
    try:
        importable = b"__main__" not in pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError):
        importable = False
    if not importable:
        raise ValueError(
            f"{getattr(function, '__qualname__', function)} is defined in a notebook, a script or another "
            "function, where other processes cannot import it. Put it into a module (a .py file) and import "
            "it, or leave workers out."
        )


def _check_on_workers(function: Callable, client: Any) -> None:
    """Let every worker read what a task begins with: one that it cannot read it would never answer."""
    from distributed.protocol.pickle import dumps  # as Dask itself sends them

    sent = dumps((_attempt_alone, function))
    for worker, answer in client.run(pickle.loads, sent, on_error="return").items():
        if isinstance(answer, Exception):
            raise ValueError(
                f"{getattr(function, '__qualname__', function)} cannot be read by the worker {worker} "
                f"({type(answer).__name__}: {answer}). Install minigrok there, and send it the function's "
                "module (client.upload_file), or define the function in the notebook or script itself."
            )


def _plain(name: Any, value: Any) -> Any:
    """A number, text, None or a list of them, as JSON keeps it."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(name, part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{name!r} must be a number, text, or an array or list of them, got {type(value).__name__}"
    )


def _key(cell: Cell) -> str:
    return json.dumps(cell, sort_keys=True)


# --- finished cells on disk ---------------------------------------------------------------------------------


def _header(function: Callable) -> Record:
    name = getattr(function, "__qualname__", type(function).__name__)
    return {"format": FORMAT, "function": name}


def _read(path: Path, function: Callable) -> dict[str, Record]:
    """The records of a file by the key of their cell, the last of each; a half-written line is cut off."""
    if not path.exists():
        return {}
    lines = path.read_bytes().split(b"\n")
    if lines[-1]:
        warnings.warn(f"the last line of {path} was half-written: that cell is run again", stacklevel=3)
        write_whole(path, b"".join(line + b"\n" for line in lines[:-1]))
    entries = [_entry(path, number, line) for number, line in enumerate(lines[:-1], 1)]
    if not entries:
        return {}
    if entries[0] != _header(function):
        raise ValueError(
            f"{path} is not a file of this sweep: it begins with {entries[0]}, expected {_header(function)}. "
            "Give this sweep a file of its own."
        )
    return {entry["cell"]: entry["record"] for entry in entries[1:]}


def _entry(path: Path, number: int, line: bytes) -> Record:
    try:
        return json.loads(line)
    except ValueError as broken:
        raise ValueError(
            f"line {number} of {path} is not JSON ({broken}). Delete that line to run its cell again, or the "
            "file to begin anew."
        ) from broken


class _Appender:
    """The file of a sweep while it runs; without a path it keeps nothing."""

    def __init__(self, path: str | os.PathLike | None, function: Callable):
        self.path, self.header = None if path is None else Path(path), _header(function)

    def __enter__(self) -> "_Appender":
        self.file = None
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "a", encoding="utf-8")
            if not self.path.stat().st_size:
                self._write(self.header)
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def add(self, cell: Cell, record: Record) -> None:
        if self.file is not None:
            self._write({"cell": _key(cell), "record": record})

    def _write(self, entry: Record) -> None:
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())

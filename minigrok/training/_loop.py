"""The loop: updates, observations on a logarithmic clock, Ctrl-C heard between two updates."""

import functools
import math
import operator
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minigrok._support import progress_bar, to_array
from minigrok.training._checkpoints import Checkpoint, random_states, set_random_states
from minigrok.training._ensemble import Ensemble
from minigrok.training._run import Batch, Diverged, Run, State


def train(
    step: Callable[[State, Any], Any],
    state: State,
    *,
    steps: int,
    batches: Callable[[int], Any] | None = None,
    observe: Callable[[State], dict[str, Any]] | None = None,
    at: Iterable[int] | None = None,
    checkpoint: str | os.PathLike | None = None,
    every: int = 1000,
    progress: bool = False,
) -> Run:
    """Make updates until `state.step` is `steps`, and observe the run on the way.

    Args:
        step: `step(state, batch)` makes one update: loss, backward, `state.optimizer.step()`. It is the
            reader's own; `classification_step` makes the usual one.
        state: where to begin; it is changed in place. Handing in the state of an earlier run goes on there.
        steps: the number of updates at which to stop, counted from the very beginning.
        batches: `batches(t)` is the batch of update t (`minibatches` makes one); without it batch is None.
        observe: `observe(state)` returns a dict of numbers, arrays or tensors. It runs with the model in
            evaluation mode and without gradients. Afterwards every module's mode, `state.generator` and
            torch's own generator are as before, so a run does not depend on when it is looked at.
        at: the steps at which to observe, default `log_spaced(steps, 30)`. Those beyond `steps` wait for
            a longer run.
        checkpoint: a file, written every `every` updates, at the end and when interrupted. If it exists,
            the run goes on from it: on the same processor, versions and number of threads the result is
            bit for bit that of a run that never stopped. The file has the model, the optimizer, the state
            of `state.generator` and of torch's own CPU generator (both are set again on resuming), and all
            of `State`. What `step` keeps elsewhere is not in it, nor whether `step` or the data changed.
        progress: show a progress bar.

    Returns:
        The run. Ctrl-C and Jupyter's stop button end it early: an update under way is finished first (a
        second Ctrl-C cuts it), an observation under way is dropped, and the run so far is returned with
        `interrupted=True`.

    Raises:
        Diverged: the weights are NaN or infinite at an observation, at a checkpoint or at the end. Of an
            `Ensemble` the other seeds go on: a warning names those lost, their `accuracy` is NaN from then
            on, and `Diverged` is raised when none is left. The checkpoint stays the last one before.
        ValueError: the checkpoint is of another run (other shapes, optimizer, initial weights, generator or
            observations), or is already beyond `steps`.

    A file at `checkpoint` that is broken, cut short or something else is renamed to `*.broken`, a warning
    names it, and the run starts anew.

    Example:
        >>> from minigrok import data, models
        >>> from minigrok.training import State, accuracy, classification_step
        >>> x, y = data.disc_and_ring(200)
        >>> model = models.mlp([2, 16, 16, 2], generator=torch.Generator().manual_seed(0))
        >>> state = State(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
        >>> run = train(
        ...     classification_step(), state, steps=300, at=[0, 100, 300],
        ...     batches=lambda t: (x, y),
        ...     observe=lambda state: {"accuracy": accuracy(state.model, x, y)},
        ... )
        >>> run.steps, run["accuracy"][-1] > 0.95
        (array([  0, 100, 300]), np.True_)

    Used in most lessons.
    """
    due = _schedule(at, steps, observe)
    lost: set[int] = set()  # networks of an ensemble that have diverged
    with _Interrupts() as interrupts:
        file = None if checkpoint is None else Checkpoint.of(Path(checkpoint), state, due)
        _check_steps(state.step, steps, every)
        clock = time.perf_counter() - state.seconds
        with progress_bar(progress, state.step, steps) as bar:
            while not interrupts.count:
                if state.step in due:
                    _take_stock(state, clock, lost)
                    _observe(observe, state, interrupts)
                if file is not None and state.step % every == 0 and state.step < steps:
                    _take_stock(state, clock, lost)
                    file.save(state)
                if interrupts.count or state.step == steps:
                    break
                _update(step, state, batches, interrupts)
                if bar is not None:
                    bar.update()
        _take_stock(state, clock, lost)
        if file is not None and not interrupts.cut:
            file.save(state)
        return _finished(state, steps, interrupts)


def log_spaced(steps: int, n: int) -> list[int]:
    """At most n whole numbers from 0 to steps, each as many times the one before as can be.

    Every number is at least one more than the last, so the first ones stand closer than a logarithm would
    put them. There are n of them, or steps + 1 where that is less.

    Args:
        steps: the last of them, at least 0.
        n: how many at most, at least 2.

    Raises:
        ValueError: steps or n below that.

    Example:
        >>> log_spaced(1000, 8)
        [0, 1, 3, 10, 32, 101, 318, 1000]
        >>> log_spaced(3, 8)
        [0, 1, 2, 3]

    Used in lessons 02, 06, 10 and 11, and in the recording of lesson 09.
    """
    if steps < 0 or n < 2:
        raise ValueError(
            f"expected steps of at least 0 and n of at least 2 (first and last), got {steps} and {n}"
        )
    if steps < 2 or n == 2:
        return sorted({0, steps})
    times = [0, 1]
    while times[-1] < steps:
        ratio = (steps / times[-1]) ** (1 / max(1, n - len(times)))
        times.append(max(times[-1] + 1, round(times[-1] * ratio)))
    return times


def minibatches(x: Tensor, y: Tensor, size: int, *, seed: int | Sequence[int]) -> Callable[[int], Batch]:
    """Batches without memory: `batches(t)` depends on t and the seed alone, so a resumed run sees the same.

    Every epoch goes through all samples once, in an order drawn from (seed, epoch). Where `size` does not
    divide their number the last batch of an epoch is shorter; nothing is left out.

    Args:
        x, y: the samples, (n, ...) and (n,).
        size: samples in a batch, 1 to n.
        seed: one seed, or S seeds, one order for each network of an `Ensemble`.

    Returns:
        `batches(t)` -> (x (size, ...), y (size,)), with S seeds (x (S, size, ...), y (S, size)).

    Raises:
        ValueError: another number of labels than samples, or a size out of its range.

    Example:
        >>> batches = minibatches(torch.arange(5.0)[:, None], torch.arange(5), 2, seed=0)
        >>> [len(batches(t)[1]) for t in range(6)]
        [2, 2, 1, 2, 2, 1]
        >>> minibatches(torch.zeros(5, 1), torch.arange(5), 2, seed=[0, 1, 2])(0)[0].shape
        torch.Size([3, 2, 1])

    Used in lessons 03, 08, 10, 11, 12 and 13, and in the recordings of lessons 09 and 14.
    """
    n = len(x)
    if len(y) != n or not 1 <= size <= n:
        raise ValueError(
            f"expected as many labels as samples and a size from 1 to {n}, got {len(y)} and {size}"
        )
    per_epoch = math.ceil(n / size)
    seeds = [seed] if isinstance(seed, Integral) else list(seed)

    @functools.lru_cache(maxsize=1)
    def order(epoch: int) -> Tensor:
        orders = torch.stack([_order(n, s, epoch) for s in seeds]).to(x.device)
        return orders[0] if isinstance(seed, Integral) else orders

    def batches(t: int) -> Batch:
        epoch, k = divmod(t, per_epoch)
        chosen = order(epoch)[..., k * size : (k + 1) * size]
        return x[chosen], y[chosen]

    return batches


def _order(n: int, seed: int, epoch: int) -> Tensor:
    # SeedSequence mixes the two numbers: neighbouring seeds and epochs give unrelated orders.
    mixed = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    return torch.randperm(n, generator=torch.Generator().manual_seed(int(mixed[0])))


def _schedule(at: Iterable[int] | None, steps: int, observe: Callable | None) -> set[int]:
    if observe is None:
        if at is not None:
            raise ValueError(
                "at says when to observe, but there is no observe: pass observe=..., or leave at out"
            )
        return set()
    due = {operator.index(t) for t in (log_spaced(steps, 30) if at is None else at)}
    if due and min(due) < 0:
        raise ValueError(f"at must hold steps of at least 0, got {min(due)}")
    return due


def _check_steps(made: int, steps: int, every: int) -> None:
    if steps != int(steps):
        raise ValueError(f"steps must be a whole number of updates, got {steps}")
    if made > steps:
        raise ValueError(
            f"the run has made {made} updates already, more than steps={steps}: ask for more steps"
        )
    if every < 1:
        raise ValueError(f"every must be at least 1 update, got {every}")


def _update(step: Callable, state: State, batches: Callable | None, interrupts: "_Interrupts") -> None:
    interrupts.patience = 1  # the first Ctrl-C waits for the end of the update, a second one cuts it
    try:
        step(state, None if batches is None else batches(state.step))
    except KeyboardInterrupt:
        interrupts.stop(cut=True)
        return
    finally:
        interrupts.patience = math.inf
    state.step += 1


def _observe(observe: Callable, state: State, interrupts: "_Interrupts") -> None:
    """Append a record, and leave modes and random generators as they were: looking changes nothing."""
    if state.records and state.records[-1]["step"] >= state.step:
        return  # seen before the run was stopped here
    modes = {part: part.training for part in state.model.modules()}
    random = random_states(state)
    interrupts.patience = 0
    try:
        state.model.eval()
        with torch.no_grad():
            record = _record(state.step, observe(state))
    except KeyboardInterrupt:
        interrupts.stop()
        return
    finally:
        interrupts.patience = math.inf
        set_random_states(state, random)
        for part, training in modes.items():
            part.training = training
    state.records.append(record)


def _record(step: int, seen: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(seen, dict) or "step" in seen:
        raise TypeError(
            f"observe must return a dict of numbers or arrays without the key 'step', got {seen!r:.200}"
        )
    arrays = {name: to_array(name, value) for name, value in seen.items()}
    return {"step": step} | {name: array if array.ndim else array.item() for name, array in arrays.items()}


def _take_stock(state: State, clock: float, lost: set[int]) -> None:
    """Note the time, raise `Diverged` if no network has finite weights, warn of those newly `lost`."""
    state.seconds = time.perf_counter() - clock
    size = len(state.model) if isinstance(state.model, Ensemble) else 1
    finite = [weight.detach().isfinite().reshape(size, -1).all(dim=1) for weight in state.model.parameters()]
    diverged = set((~torch.stack(finite).all(dim=0)).nonzero().flatten().tolist())
    where = f"at step {state.step}" + (
        f" (last observed at step {state.records[-1]['step']})" if state.records else ""
    )
    if len(diverged) == size:
        raise Diverged(
            f"the weights are NaN or infinite {where}. A lower learning rate or smaller inputs may help; "
            "the run up to the last observation is in this error's .run",
            Run(state, list(state.records)),
        )
    if diverged - lost:
        warnings.warn(
            f"networks {sorted(diverged - lost)} of the ensemble have NaN or infinite weights {where}",
            stacklevel=3,
        )
    lost |= diverged


def _finished(state: State, steps: int, interrupts: "_Interrupts") -> Run:
    if interrupts.count:
        cut = " The last update was cut: the weights may be half-updated." if interrupts.cut else ""
        print(f"Stopped after {state.step} of {steps} updates.{cut} To go on: train(..., state=run.state)")
    return Run(state, list(state.records), interrupted=interrupts.count > 0)


class _Interrupts:
    """While open, Ctrl-C and Jupyter's stop button (both send SIGINT) are counted instead of breaking in.

    KeyboardInterrupt is raised on the spot only when more came than there is `patience` for. Outside the
    main thread, where Python delivers no signals, nothing is done.
    """

    def __init__(self) -> None:
        self.count = 0
        self.cut = False  # an update was broken off half-way
        self.patience = math.inf

    def __enter__(self) -> "_Interrupts":
        self.before = signal.getsignal(signal.SIGINT)
        # A handler that is not a function means that the process ignores Ctrl-C or dies of it: let it.
        self.active = callable(self.before) and threading.current_thread() is threading.main_thread()
        if self.active:
            signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            signal.signal(signal.SIGINT, self.before)

    def _receive(self, *_: object) -> None:
        self.count += 1
        if self.count > self.patience:
            raise KeyboardInterrupt

    def stop(self, cut: bool = False) -> None:
        self.patience, self.count, self.cut = math.inf, max(1, self.count), cut

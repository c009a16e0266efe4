"""What the training loop costs over bare updates, and what an `Ensemble` saves over networks one at a time.

Run by `make bench`, or: python bench/bench_training.py. One thread, processor time, functions in turn.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _timing import compare
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from minigrok import data, models, training
from minigrok.training import Ensemble, State, train

UPDATES = 100
SETTINGS = {  # the two networks of the lessons: widths, and the batch of every update
    "2-48-48-48-2, 200 points in the plane": ([2, 48, 48, 48, 2], lambda: data.disc_and_ring(200)),
    "64-60-60-60-10, 100 digits": ([64, 60, 60, 60, 10], lambda: data.digits(100)[:2]),
}


class Tutorial(nn.Module):
    """The peer, an ensemble as in PyTorch's tutorial: `stack_module_state` and `vmap(functional_call)`."""

    def __init__(self, nets: list[nn.Module]):
        super().__init__()
        parameters, _ = stack_module_state(nets)
        self.names, self.base = list(parameters), [nets[0]]  # in a list: not a part of this module
        self.stacks = nn.ParameterList([stack.detach().clone() for stack in parameters.values()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def one(tensors: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            return functional_call(self.base[0], tensors, (x,))

        return vmap(one, in_dims=(0, None))(dict(zip(self.names, self.stacks, strict=True)), x)


def networks(widths: list[int], n: int) -> list[nn.Module]:
    return [models.mlp(widths, generator=torch.Generator().manual_seed(seed)) for seed in range(n)]


def new_state(model: nn.Module, **options: bool) -> State:
    options = options or {"fused": True}
    return State(model, torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2, **options))


def updates(model: nn.Module, batch: training.Batch, **options: bool) -> Callable[[], None]:
    """A function that makes UPDATES bare updates."""
    state, step = new_state(model, **options), training.classification_step()

    def run() -> None:
        for _ in range(UPDATES):
            step(state, batch)

    return run


def one_at_a_time(nets: list[nn.Module], batch: training.Batch) -> Callable[[], None]:
    runs = [updates(net, batch) for net in nets]

    def run() -> None:
        for one in runs:
            one()

    return run


def loop(name: str, widths: list[int], batch: training.Batch) -> None:
    """`train` against the bare loop (its ratio is to stay above 0.95), and the loop around nothing at all."""
    state = new_state(networks(widths, 1)[0])

    def trained(step: Callable | None = None, n: int = UPDATES, **options: object) -> None:
        state.step, state.records = 0, []
        step = step or training.classification_step()
        train(step, state, steps=n, batches=lambda t: batch, **options)

    def with_checkpoint() -> None:
        with tempfile.TemporaryDirectory() as folder:
            trained(checkpoint=Path(folder) / "run.pt")  # one at the beginning, one at the end

    print(f"{UPDATES} updates of {name}")
    functions = {
        "bare": updates(state.model, batch),
        "train": trained,
        "train, 2 checkpoints": with_checkpoint,
    }
    medians = compare(functions, repeats=21, clock=time.process_time)
    begin = time.process_time()
    trained(lambda state, batch: None, n=100_000)
    nothing = (time.process_time() - begin) / 100_000
    update = medians["bare"] / UPDATES
    print(
        f"the loop itself: {1e6 * nothing:.1f} us an update, {100 * nothing / update:.2f} % of a bare one\n"
    )


def ensemble(name: str, n: int, widths: list[int], batch: training.Batch) -> None:
    print(f"{UPDATES} updates of {n} networks {name}")
    by_vmap = Ensemble(networks(widths, n))
    by_vmap._layered = False  # the way that networks of other kinds go
    functions = {
        "one at a time": one_at_a_time(networks(widths, n), batch),
        "a single one": updates(networks(widths, 1)[0], batch),
        "PyTorch's tutorial": updates(Tutorial(networks(widths, n)), batch),
        "Ensemble by vmap": updates(by_vmap, batch),
        "Ensemble": updates(Ensemble(networks(widths, n)), batch),
    }
    show_microseconds(compare(functions, clock=time.process_time))


def optimizers(name: str, n: int, widths: list[int], batch: training.Batch) -> None:
    print(f"{UPDATES} updates of an Ensemble of {n} networks {name}, by kind of AdamW")
    kinds = {
        "foreach=False": {"foreach": False},
        "foreach=True": {"foreach": True},
        "fused=True": {"fused": True},
    }
    functions = {
        kind: updates(Ensemble(networks(widths, n)), batch, **options) for kind, options in kinds.items()
    }
    show_microseconds(compare(functions, clock=time.process_time))


def show_microseconds(medians: dict[str, float]) -> None:
    print("us an update: " + ", ".join(f"{k} {1e6 * v / UPDATES:.0f}" for k, v in medians.items()) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, (widths, load) in SETTINGS.items():
        loop(name, widths, load())
        for n in (5, 10):
            ensemble(name, n, widths, load())
        optimizers(name, 5, widths, load())

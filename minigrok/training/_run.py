"""What a run is: its state, what it returns, and how it fails."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


@dataclass
class State:
    """All that a run needs to go on: what `train` changes, and what a checkpoint holds.

    Attributes:
        model: the network, or an `Ensemble` of networks.
        optimizer: over the model's parameters. `torch.optim.AdamW(..., fused=True)` is the fastest for the
            small networks of the lessons.
        generator: where the reader's `step` draws its noise from, if it draws any.
        step: number of updates made.
        records: what was observed so far: dicts of numbers and NumPy arrays with the key "step".
        seconds: time spent training and observing so far, over all calls of `train`.

    Used in most lessons.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator | None = None
    step: int = 0
    records: list[dict[str, Any]] = field(default_factory=list, repr=False)
    seconds: float = 0.0


@dataclass
class Run:
    """What `train` returns: `run["name"]` is an observed quantity as one array, first axis `run.steps`.

    `run.records` is the same as a list of dicts; `run.state` can be handed to `train` again, to go on;
    `run.interrupted` says whether Ctrl-C or the stop button ended the run early.
    """

    state: State
    records: list[dict[str, Any]] = field(repr=False)
    interrupted: bool = False

    @property
    def steps(self) -> np.ndarray:
        """The steps of the observations, (T,) int64."""
        return np.array([record["step"] for record in self.records], dtype=np.int64)

    def __getitem__(self, name: str) -> np.ndarray:
        """One observed quantity as an array (T, ...): (T,) for numbers, (T, S) for one number a seed."""
        known = sorted({key for record in self.records for key in record})
        if name not in known:
            raise KeyError(
                f"nothing called {name!r} was observed, only {', '.join(map(repr, known)) or 'nothing'}"
            )
        missing = [record["step"] for record in self.records if name not in record]
        if missing:
            raise KeyError(
                f"{name!r} was observed at some steps only, not at {missing[:4]}: take it from run.records"
            )
        return np.stack([record[name] for record in self.records])


class Diverged(ValueError):
    """The weights became NaN or infinite. `error.run` is the run up to the last observation before."""

    def __init__(self, message: str, run: Run):
        super().__init__(message)
        self.run = run

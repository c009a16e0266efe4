"""Files from which a run goes on as if it had never stopped.

A checkpoint is written whole or not at all, knows which run it is of, and is read without being run.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minigrok._support import check_zip
from minigrok.recordings import data_hash, write_whole
from minigrok.training._run import State

FORMAT = "minigrok checkpoint 1"


_PARTS = {"origin", "step", "seconds", "records", "model", "optimizer", "random"}


@dataclass
class Checkpoint:
    path: Path
    origin: dict[str, str]  # what the run began with, to tell it from another

    @classmethod
    def of(cls, path: Path, state: State, due: set[int]) -> "Checkpoint":
        """Bring `state` to where the file is, if that is ahead; ValueError if the file is of another run."""
        saved, origin = _read(path), _origin(state)
        if saved is None:
            return cls(path, origin)
        differences = _differences(saved, origin, state.step, due)
        if differences:
            raise ValueError(
                f"the checkpoint {path} is of another run: {'; '.join(differences[:4])}. "
                "Give this run a file of its own, or delete that one to start anew."
            )
        if saved["step"] > state.step:
            _restore(state, saved)
        return cls(path, saved["origin"])

    def save(self, state: State) -> None:
        content = {"format": FORMAT, "origin": self.origin, "step": state.step, "seconds": state.seconds}
        content["records"] = [{name: _packed(value) for name, value in r.items()} for r in state.records]
        content |= {"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()}
        content["random"] = random_states(state)
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_whole(self.path, buffer.getvalue())


def _restore(state: State, saved: dict[str, Any]) -> None:
    state.model.load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    set_random_states(state, saved["random"])
    state.records = [{name: _unpacked(value) for name, value in r.items()} for r in saved["records"]]
    state.step, state.seconds = saved["step"], saved["seconds"]


def _origin(state: State) -> dict[str, str]:
    """What tells a run from another, as text by name."""
    begun = [state.model.state_dict()] + ([] if state.generator is None else [state.generator.get_state()])
    shapes = {f"shape of {name}": str(tuple(t.shape)) for name, t in state.model.state_dict().items()}
    options = {
        f"optimizer's {name} (parameter group {i})": repr(value)
        for i, group in enumerate(state.optimizer.param_groups)
        for name, value in group.items()
        if name != "params"
    }
    kind = {"optimizer": type(state.optimizer).__name__}
    return shapes | kind | options | {"hash of the first weights and generator": data_hash(begun)[:12]}


def _differences(saved: dict[str, Any], origin: dict[str, str], step: int, due: set[int]) -> list[str]:
    was = saved["origin"]
    # A run under way may have new options on purpose; one that begins must begin as the file's did.
    names = [name for name in was | origin if step == 0 or name.startswith("shape of")]
    differ = [name for name in names if was.get(name) != origin.get(name)]
    reasons = [f"{name} was {was.get(name, 'absent')}, now {origin.get(name, 'absent')}" for name in differ]
    seen = [record["step"] for record in saved["records"] if record["step"] < saved["step"]]
    expected = sorted(t for t in due if t < saved["step"])
    if seen != expected:
        hint = "pass the same `at`, whose default depends on `steps`"
        reasons.append(f"it was observed at {_short(seen)}, now due at {_short(expected)} ({hint})")
    return reasons


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint; None without a file, or with one that is broken: that is set aside."""
    try:
        content = io.BytesIO(path.read_bytes())
    except FileNotFoundError:
        return None
    try:
        check_zip(content)  # torch.load does not look at the checksums
        saved = torch.load(content, map_location="cpu", weights_only=True)
        missing = _PARTS - saved.keys()
        if saved["format"] == FORMAT and not missing:
            return saved
        reason = f"its format is {saved['format']!r}, and it lacks {sorted(missing) or 'nothing'}"
    except Exception as error:  # zip, pickle and torch each have their own ways of saying "broken"
        reason = f"{type(error).__name__}: {error}"
    aside = _set_aside(path)
    warnings.warn(
        f"{path} is not a whole minigrok checkpoint ({reason:.200}). It was renamed to {aside.name}; "
        "the run starts anew.",
        stacklevel=4,
    )
    return None


def _set_aside(path: Path) -> Path:
    names = (path.with_name(f"{path.name}{k}.broken") for k in ["", *(f".{k}" for k in range(2, 1000))])
    aside = next(name for name in names if not name.exists())
    return path.rename(aside)


def random_states(state: State) -> dict[str, Tensor]:
    states = {"torch": torch.get_rng_state()}
    return states if state.generator is None else states | {"generator": state.generator.get_state()}


def set_random_states(state: State, states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["torch"])
    if state.generator is not None:
        state.generator.set_state(states["generator"])


def _packed(value: Any) -> Any:  # torch.load with weights_only reads tensors, but no NumPy arrays
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _unpacked(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value


def _short(steps: list[int]) -> str:
    return f"{len(steps)} steps {str(steps[:4])[:-1]}{', ...' if len(steps) > 4 else ''}]"

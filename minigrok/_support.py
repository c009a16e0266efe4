"""What several modules need and no reader asks for: progress bars, memory, float64, modes, whole files."""

import copy
import io
import operator
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def progress_bar(progress: bool, done: int, total: int, unit: str = "step") -> Any:
    """A bar that begins at `done`, to be used as a context; None in its place where none is wanted."""
    if not progress:
        return nullcontext()
    try:
        from tqdm import tqdm  # not tqdm.auto: as a widget it would load megabytes into a page of the book
    except ImportError as missing:
        raise ImportError("the progress bar needs tqdm: pip install 'minigrok[course]'") from missing
    return tqdm(initial=done, total=total, unit=unit, leave=False, mininterval=0.5)


def keep_freed_memory() -> None:
    """Ask the C library, without words, to keep what is freed for the next update.

    glibc gives freed memory back to the system above a limit, and then every update pays for fresh pages, in
    an ensemble as much as for the arithmetic. Freeing one block of just below 32 MB, untouched and so for
    nothing, raises that limit to 64 MB (mallopt(3), M_MMAP_THRESHOLD). Other C libraries take no notice.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def seeded(seed: int) -> torch.Generator:
    """A generator of its own; the seed may be one of NumPy's integers, which torch refuses."""
    return torch.Generator().manual_seed(operator.index(seed))


def to_float64(t: Tensor) -> Tensor:
    """The same numbers in float64, on the CPU if they are on a device that has none (Apple's)."""
    return (t.cpu() if t.device.type == "mps" else t).to(torch.float64)


def with_float64(model: Callable) -> Callable:
    """The model, or a copy on the CPU if it is on a device that has no float64 (Apple's)."""
    if isinstance(model, nn.Module) and any(p.device.type == "mps" for p in model.parameters()):
        return copy.deepcopy(model).to("cpu")
    return model


def check_tensor(value: object, what: str) -> None:
    """Refuse what is no torch tensor; `what` says what was expected: "a torch tensor of inputs"."""
    if not isinstance(value, Tensor):
        raise TypeError(f"expected {what}, got {type(value).__name__}. Use torch.as_tensor(x).")


def unsettled(model: Callable) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a model, by name, whose training mode makes the output depend on more than the sample.

    On chance, on the rest of the batch, or on earlier calls (spectral norm refines its estimate).
    """
    for name, part in model.named_modules() if isinstance(model, nn.Module) else ():
        noisy = isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0
        moving = isinstance(part, nn.modules.batchnorm._BatchNorm | nn.RReLU)
        if part.training and (noisy or moving or type(part).__name__ == "_SpectralNorm"):
            yield name, part


def to_array(name: object, value: Any) -> np.ndarray:
    """A tensor, array, number or list of numbers as a NumPy array of its own; `name` is for the error.

    Raises:
        TypeError: text, objects, lists of unequal lengths: what could be kept only as a pickle.
    """
    try:
        array = np.array(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
    except ValueError as unequal:
        raise TypeError(f"{name!r} must be one array of numbers, got parts of unequal lengths") from unequal
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"{name!r} must be a number, or an array or tensor of numbers, "
            f"got {type(value).__name__} of dtype {array.dtype}"
        )
    return array


def check_zip(content: io.BytesIO) -> None:
    """Read a zip archive (which .npz files and checkpoints are) and compare it with its own checksums.

    Raises:
        ValueError: a part whose checksum is wrong. zipfile.BadZipFile and others: not a zip archive at all.
    """
    with zipfile.ZipFile(content) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of its part {damaged} is wrong")
    content.seek(0)  # for whoever reads it next

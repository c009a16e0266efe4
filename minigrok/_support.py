"""What several modules need and no reader asks for: a progress bar, memory that is kept, float64."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor


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


def to_float64(t: Tensor) -> Tensor:
    """The same numbers in float64, on the CPU if they are on a device that has none (Apple's)."""
    return (t.cpu() if t.device.type == "mps" else t).to(torch.float64)

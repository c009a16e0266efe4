"""Results of long runs, kept with what made them: the command, the seed, the machine, the versions, the date.

A recording is one .npz file, which `numpy.load` opens too: the arrays, never pickled, and the member
`provenance.json`. Files are written whole or not at all.
"""

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch

import minigrok
from minigrok._support import check_zip, to_array

FORMAT = "minigrok recording 1"


@dataclass(frozen=True, repr=False)
class Recording:
    """The arrays of a recording by name, and the provenance that `save` wrote beside them.

    `recording["name"]` is an array; `recording.provenance` a dict with the keys format, command, seed,
    seconds, note, arrays (their names), data (SHA-256 or None), date, device, threads, python, torch, numpy
    and minigrok.
    """

    arrays: dict[str, np.ndarray]
    provenance: dict[str, Any]

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise KeyError(f"no array {name!r} in this recording, only {', '.join(map(repr, self.arrays))}")
        return self.arrays[name]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.arrays.items())
        return f"Recording({shapes}; {self.cite()})"

    def cite(self) -> str:
        """One sentence for a caption: what it ran on, when, how long, with which seed, and by which command.

        Example:
            >>> facts = {"device": "a laptop", "date": "2026-11-20T10:00:00+00:00", "seconds": 721.4}
            >>> Recording({}, facts | {"seed": [0, 1, 2], "command": "python experiments/toy.py"}).cite()
            'Recorded on a laptop on 2026-11-20 in 12 min with seeds 0 to 2 by `python experiments/toy.py`.'
        """
        facts = self.provenance
        seconds, seed = facts["seconds"], facts["seed"]
        time = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        time = time if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
        seeds = f"seeds {_spans(seed)}" if isinstance(seed, list) else f"seed {seed}"
        where, day, command = facts["device"], facts["date"][:10], facts["command"]
        return f"Recorded on {where} on {day} in {time} with {seeds} by `{command}`."


def _spans(numbers: list[int]) -> str:
    """0, 1, 2, 5 as "0 to 2, 5"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{s[0]} to {s[-1]}" if len(s) > 2 else ", ".join(map(str, s)) for s in spans)


def save(
    path: str | os.PathLike,
    arrays: Mapping[str, Any],
    *,
    command: str,
    seed: int | Sequence[int],
    seconds: float,
    data: Any = None,
    note: str = "",
    device: str | torch.device = "cpu",
) -> Recording:
    """Write arrays and their provenance to one .npz file, whole or not at all, and return them.

    Args:
        path: the file; its folder is made if there is none, an older recording is replaced.
        arrays: name -> tensor, array or number; text and objects are refused (no pickle is ever written).
        command: what a reader types to make it again.
        seed: the seed, or the list of seeds of an ensemble.
        seconds: how long the run took (`run.state.seconds` of a training run).
        data: the data it was trained on: a tensor or array, or a tuple, list or dict of them (`data_hash`).
        note: anything else, in words.
        device: what it ran on; a cuda device is recorded by the GPU's name, anything else by the CPU's.

    Returns:
        The `Recording`, as `load` reads it.

    Raises:
        TypeError: an array that is not of numbers.
        ValueError: no arrays, or provenance that says nothing.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "toy.npz"
        >>> _ = save(path, {"loss": [3.0, 1.0]}, command="python experiments/toy.py", seed=0, seconds=2.5)
        >>> load(path)["loss"]
        array([3., 1.])

    Used by the scripts in experiments/.
    """
    if not arrays or not command.strip():
        raise ValueError(
            f"a recording needs arrays and the command that made them, "
            f"got {len(arrays)} arrays and command={command!r}"
        )
    checked = {str(name): to_array(name, value) for name, value in arrays.items()}
    seeds = int(seed) if isinstance(seed, Integral) else [int(s) for s in seed]
    provenance = {
        "format": FORMAT,
        "command": command,
        "seed": seeds,
        "seconds": float(seconds),
        "note": note,
        "arrays": list(checked),
    }
    provenance |= {"data": None if data is None else data_hash(data), "date": _now()} | machine(device)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("provenance.json", json.dumps(provenance, indent=1, ensure_ascii=False))
        for name, array in checked.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())
    return Recording(checked, provenance)


def load(path: str | os.PathLike) -> Recording:
    """Read a recording that `save` wrote; every byte is checked against the file's checksums.

    Args:
        path: the file.

    Returns:
        A `Recording`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is cut short, damaged, or not a recording of minigrok; it is left as it is.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "toy.npz"
        >>> _ = save(path, {"loss": [3.0, 1.0]}, command="python toy.py", seed=7, seconds=2.5)
        >>> recording = load(path)
        >>> recording["loss"].shape, recording.provenance["seed"]
        ((2,), 7)

    Used in lessons 06, 07, 09, 10, 11, 12, 13 and 14.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"there is no recording {os.fspath(path)} (looked for from {Path.cwd()}). Recordings lie in "
            "a folder beside the lessons: open the lesson in the workbook that `make lab` makes, or copy it."
        )
    content = io.BytesIO(Path(path).read_bytes())
    try:
        check_zip(content)
        with np.load(content, allow_pickle=False) as archive:
            provenance = json.loads(archive["provenance.json"])
            if provenance["format"] != FORMAT:
                raise ValueError(f"its format is {provenance['format']!r}, expected {FORMAT!r}")
            # By the names it was saved with: damage to the list of parts can hide some from its reader.
            arrays = {name: archive[name] for name in provenance["arrays"]}
    except Exception as reason:  # zip, NumPy and JSON each have their own way of saying "broken"
        raise ValueError(
            f"{os.fspath(path)} is not a whole minigrok recording ({type(reason).__name__}: {reason}). "
            "Fetch it again, or make it again with its script in experiments/."
        ) from reason
    return Recording(arrays, provenance)


def data_hash(data: Any) -> str:
    """SHA-256 of the dtypes, shapes and bytes of a tensor or array, or of a tuple, list or dict of them.

    Example:
        >>> data_hash(torch.zeros(3)) == data_hash(np.zeros(3, dtype="float32"))
        True
        >>> data_hash((torch.zeros(3), torch.ones(3))) == data_hash((torch.ones(3), torch.zeros(3)))
        False
    """
    digest = hashlib.sha256()
    for name, array in _flatten("", data):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def machine(device: str | torch.device = "cpu") -> dict[str, Any]:
    """What a run ran on: device (the processor's name), threads, and the versions that decide its numbers.

    Example:
        >>> sorted(machine())
        ['device', 'minigrok', 'numpy', 'python', 'threads', 'torch']
    """
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "minigrok": minigrok.__version__,
    }


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file whole or not at all: beside it first, then moved into its place in one stroke.

    Whatever stops the writing (a full disk, Ctrl-C, a power cut) leaves the older file as it was.

    Args:
        path: the file; its folder is made if there is none, an older file is replaced.
        content: all of it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "runs" / "seen.json"
        >>> write_whole(path, b"[1, 2]")
        >>> path.read_bytes(), [file.name for file in path.parent.iterdir()]
        (b'[1, 2]', ['seen.json'])
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _flatten(name: str, data: Any) -> list[tuple[str, np.ndarray]]:
    if isinstance(data, Mapping):
        return [leaf for key, value in data.items() for leaf in _flatten(f"{name}.{key}", value)]
    if isinstance(data, tuple | list):
        return [leaf for i, value in enumerate(data) for leaf in _flatten(f"{name}.{i}", value)]
    return [(name, to_array(name or "data", data))]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _cpu_name() -> str:
    """The processor's own name where the system tells it, else its kind."""
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.machine()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()

"""Write files beside somebody's own work without ever overwriting it.

A hidden manifest in the folder remembers, for each file, what was last written there. A file that still is
what was written may be replaced; a file that its owner has changed stays, and what is new is put beside it.
Notebooks are compared by the sources of their cells: running one, or folding a cell, is not a change.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from minigrok.recordings import write_whole

__all__ = ["MANIFEST", "Outcome", "beside", "fingerprint", "start_again", "sync"]

MANIFEST = ".minigrok-manifest.json"


@dataclass(frozen=True)
class Outcome:
    """What `sync` did with one file: `action` is new, same, updated, kept, beside or set aside."""

    name: str
    action: str
    sentence: str


def beside(name: str) -> str:
    """Where the new version of a file goes that its owner has changed.

    >>> beside("01_sheet.ipynb")
    '01_sheet.new.ipynb'
    """
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.new{path.suffix}"))


def sync(
    dest: str | Path, files: Mapping[str, bytes], *, place: Callable[[str], str] = beside
) -> list[Outcome]:
    """Bring `files` (name: content) into the folder `dest`; the owner's changes are never overwritten.

    on disk              lesson unchanged        lesson changed
    absent               written                 written
    as last written      left alone              replaced
    changed by owner     left alone              new version beside it, once
    unreadable           renamed, written        renamed, written

    `place(name)` is where the new version goes. Each file is written atomically, and an interrupted run is
    picked up by the next one. A broken manifest is set aside too; every file that differs then counts as the
    owner's.

    >>> import tempfile
    >>> [outcome.action for outcome in sync(tempfile.mkdtemp(), {"note.txt": b"hello"})]
    ['new']
    """
    dest = Path(dest)
    dest.mkdir(parents=True, exist_ok=True)
    manifest, outcomes = _read_manifest(dest)
    for name, content in sorted(files.items()):
        outcomes += _sync_one(dest, name, content, manifest, place)
        # after every file: a run that is killed forgets nothing of what it has written
        _write_manifest(dest, manifest)
    return outcomes


def start_again(dest: str | Path, name: str, content: bytes) -> list[Outcome]:
    """Write `name` afresh; what stood there is kept beside it as `NN_name.old-1.ipynb`, `.old-2`, ..."""
    dest = Path(dest)
    dest.mkdir(parents=True, exist_ok=True)
    manifest, outcomes = _read_manifest(dest)
    said = f"{name}: started again"
    if (dest / name).exists():
        said += f"; your old one is {_set_aside(dest / name, 'old').name}"
    _write(dest, name, content, manifest)
    _write_manifest(dest, manifest)
    return [*outcomes, Outcome(name, "new", said)]


def fingerprint(name: str, content: bytes) -> str | None:
    """What counts as the content of a file: types and sources of a notebook's cells, any other file's bytes.

    Empty cells and line endings do not count. None where a notebook cannot be read.

    >>> fingerprint("a.ipynb", b"half a noteb") is None
    True
    """
    if not name.endswith(".ipynb"):
        return hashlib.sha256(content).hexdigest()
    try:
        cells = [
            (cell["cell_type"], "".join(cell["source"]).replace("\r\n", "\n").rstrip())
            for cell in json.loads(content)["cells"]
        ]
    except (ValueError, KeyError, TypeError):  # not JSON, not UTF-8, or not a notebook
        return None
    kept = [cell for cell in cells if cell[1]]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def _sync_one(
    dest: Path, name: str, content: bytes, manifest: dict, place: Callable[[str], str]
) -> list[Outcome]:
    path, entry = dest / name, manifest.get(name, {})
    new, edition = fingerprint(name, content), hashlib.sha256(content).hexdigest()
    if not path.exists():
        _write(dest, name, content, manifest)
        return [Outcome(name, "new", f"{name}: written")]
    mine = fingerprint(name, path.read_bytes())
    if mine is None:
        aside = _set_aside(path, "broken")
        _write(dest, name, content, manifest)
        return [
            Outcome(
                name,
                "set aside",
                f"{name} cannot be read as a notebook: it is kept as {aside.name}, "
                "and a fresh one is in its place",
            )
        ]
    if mine == entry.get("written") and edition != entry.get("edition"):
        _write(dest, name, content, manifest)
        return [
            Outcome(name, "updated", f"{name}: the lesson has changed, you had not; it is now the new one")
        ]
    if mine == new:
        manifest[name] = {"written": new, "edition": edition}
        return [Outcome(name, "same", f"{name}: up to date")]
    if new in (entry.get("written"), entry.get("offered")):
        return [Outcome(name, "kept", f"{name}: your work, left alone")]
    return [_offer(dest, name, content, manifest, place)]


def _offer(dest: Path, name: str, content: bytes, manifest: dict, place: Callable[[str], str]) -> Outcome:
    """Owner and lesson have both changed: the new one goes beside, over no file its owner has touched."""
    other, number = place(name), 1
    while (dest / other).exists() and not _untouched(dest, other, manifest):
        number += 1
        first = PurePosixPath(place(name))
        other = str(first.with_name(f"{first.stem}-{number}{first.suffix}"))
    _write(dest, other, content, manifest)
    manifest.setdefault(name, {})["offered"] = fingerprint(name, content)
    return Outcome(
        name,
        "beside",
        f"{name}: you have changed it and so has the lesson; yours is left alone, the new one is {other}",
    )


def _untouched(dest: Path, name: str, manifest: dict) -> bool:
    return fingerprint(name, (dest / name).read_bytes()) == manifest.get(name, {}).get("written", "")


def _write(dest: Path, name: str, content: bytes, manifest: dict) -> None:
    write_whole(dest / name, content)
    manifest[name] = {"written": fingerprint(name, content), "edition": hashlib.sha256(content).hexdigest()}


def _set_aside(path: Path, word: str) -> Path:
    """Rename a file to `stem.word-N.suffix` with the first N that is free."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.{word}-{number}{path.suffix}")).exists():
        number += 1
    return path.rename(aside)


def _read_manifest(dest: Path) -> tuple[dict, list[Outcome]]:
    path = dest / MANIFEST
    if not path.exists():
        return {}, []
    try:
        manifest = json.loads(path.read_bytes())["files"]
        if not all(isinstance(entry, dict) for entry in manifest.values()):
            raise TypeError
        return manifest, []
    except (ValueError, KeyError, TypeError, AttributeError):
        aside = _set_aside(path, "broken")
        return {}, [
            Outcome(
                MANIFEST,
                "set aside",
                f"the list of written files cannot be read: it is kept as {aside.name}; every file "
                "that differs from the lesson now counts as yours",
            )
        ]


def _write_manifest(dest: Path, manifest: dict) -> None:
    write_whole(dest / MANIFEST, json.dumps({"files": manifest}, indent=1, sort_keys=True).encode())

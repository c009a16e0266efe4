"""The image sets: where each is looked for, how its files are read, and what is checked.

Files are read straight from the official archives or from their unpacked folders. Nothing is unpacked, no
pickle is read, and a file is refused by its size before it is read.
"""

import gzip
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path, PurePosixPath
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from minigrok import _downloads
from minigrok._support import seeded

Four = tuple[Tensor, Tensor, Tensor, Tensor]  # x_train, y_train, x_test, y_test


@dataclass(frozen=True)
class Source:
    """Where a set comes from, and what must be in it."""

    name: str
    folder: str  # of its files, inside the archive and inside MINIGROK_DATA
    archive: str  # the one file that is fetched; empty where the files come one by one
    sha256: dict[str, str]  # of each file that is fetched
    mirrors: tuple[str, ...]
    train: tuple[int, ...]  # how many images each label has
    test: tuple[int, ...]


MNIST = Source(
    "MNIST",
    "MNIST/raw",
    "",
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
)
TORONTO = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
CIFAR10 = Source(
    "CIFAR-10",
    "cifar-10-batches-bin",
    "cifar-10-binary.tar.gz",
    {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    TORONTO,
    (5000,) * 10,
    (1000,) * 10,
)
CIFAR100 = Source(
    "CIFAR-100",
    "cifar-100-binary",
    "cifar-100-binary.tar.gz",
    {"cifar-100-binary.tar.gz": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"},
    TORONTO,
    (500,) * 100,
    (100,) * 100,
)
IMAGENETTE = Source(
    "Imagenette (160 px)",
    "imagenette2-160",
    "imagenette2-160.tgz",
    {"imagenette2-160.tgz": "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5"},
    ("https://s3.amazonaws.com/fast-ai-imageclas/",),
    (963, 955, 993, 858, 941, 956, 961, 931, 951, 960),
    (387, 395, 357, 386, 409, 394, 389, 419, 399, 390),
)
# Imagenette's classes are folders named by WordNet, in this order.
WORDNET = (
    "n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 n03445777 n03888257"
)
PICTURE = re.compile(rf"(train|val)/({WORDNET.replace(' ', '|')})/[^/]+\.JPEG")
MOST_BYTES, MOST_PIXELS = 2**20, 2**20  # of one picture; Imagenette's have about 10,000 bytes and 160 x 213


def mnist(n_train: int | None, seed: int) -> Four:
    chosen, place = _chosen(MNIST, n_train, seed), _find(MNIST)
    (x_train, y_train), (x_test, y_test) = (
        _idx_part(place, part, counts) for part, counts in (("train", MNIST.train), ("t10k", MNIST.test))
    )
    return _unit(x_train[chosen]), _labels(y_train[chosen]), _unit(x_test), _labels(y_test)


def cifar10(n_train: int | None, seed: int) -> Four:
    return _cifar(CIFAR10, [f"data_batch_{k}.bin" for k in range(1, 6)], "test_batch.bin", 0, n_train, seed)


def cifar100(n_train: int | None, seed: int) -> Four:
    return _cifar(CIFAR100, ["train.bin"], "test.bin", 1, n_train, seed)


def imagenette(n_train: int | None, size: int, seed: int) -> Four:
    if not (isinstance(size, Integral) and 1 <= size <= 160):
        raise ValueError(f"size, the side of a picture, must be a whole number from 1 to 160, got {size!r}")
    _pillow()  # before a hundred megabytes are fetched
    chosen, place = _chosen(IMAGENETTE, n_train, seed), _find(IMAGENETTE)
    # Compressed they all fit into a hundred megabytes, so only what is asked for is decoded.
    content = _members(place, IMAGENETTE, lambda name: MOST_BYTES if PICTURE.fullmatch(name) else None)
    parts: list[Tensor] = []
    for part, counts, rows in ("train", IMAGENETTE.train, chosen), ("val", IMAGENETTE.test, slice(None)):
        names = np.array(sorted(name for name in content if name.startswith(part + "/")))
        labels = np.array([WORDNET.split().index(name.split("/")[1]) for name in names], dtype=np.uint8)
        _check_labels(place / part, labels, counts)
        pixels = [_picture(place / name, content[name], size) for name in names[rows]]
        parts += [_unit(np.stack(pixels)), _labels(labels[rows])]
    return tuple(parts)


# What a file holds


def _idx_part(place: Path, part: str, counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    n = sum(counts)
    x = _idx_bytes(place / f"{part}-images-idx3-ubyte.gz", [0x803, n, 28, 28]).reshape(n, 784)
    path = place / f"{part}-labels-idx1-ubyte.gz"
    y = _idx_bytes(path, [0x801, n])
    _check_labels(path, y, counts)
    return x, y


def _idx_bytes(path: Path, header: list[int]) -> np.ndarray:
    """The bytes of one of MNIST's files after its header, which must be the one expected."""
    start, n = 4 * len(header), int(np.prod(header[1:]))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the other files of MNIST are looked for beside it")
    try:
        with gzip.open(path) as file:
            content = file.read(start + n + 1)  # one more than there should be, and no more
    except (gzip.BadGzipFile, EOFError, zlib.error) as broken:
        raise ValueError(f"{path} is not a whole gzip file ({broken}); fetch it again") from broken
    found = np.frombuffer(content[:start].ljust(start, b"\0"), dtype=">u4").tolist()
    if found != header or len(content) != start + n:
        raise ValueError(
            f"{path} is not MNIST's {path.name}: its header is {found} before {len(content) - start} bytes "
            f"or more, expected {header} before {n}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start)


def _cifar(source: Source, train: list[str], test: str, at: int, n_train: int | None, seed: int) -> Four:
    """CIFAR's binary version: records of labels, of which ours is number `at`, and 3 x 32 x 32 bytes."""
    chosen, place = _chosen(source, n_train, seed), _find(source)
    record = at + 1 + 3 * 32 * 32
    sizes = dict.fromkeys(train, sum(source.train) // len(train) * record) | {test: sum(source.test) * record}
    content = _members(place, source, sizes.get)
    for name, size in sizes.items():
        if name not in content:
            raise FileNotFoundError(f"{place / name} is missing")
        if len(content[name]) != size:
            raise ValueError(f"{place / name} is not whole: it has {len(content[name])} bytes, not {size}")
    parts: list[Tensor] = []
    for names, counts, rows in (train, source.train, chosen), ([test], source.test, slice(None)):
        records = np.frombuffer(b"".join(content[name] for name in names), np.uint8).reshape(-1, record)
        _check_labels(place / " + ".join(names), records[:, at], counts)
        x = _unit(records[rows, at + 1 :]).view(-1, 3, 32, 32)
        parts += [x, _labels(records[rows, at])]
    return tuple(parts)


def _picture(path: Path, content: bytes, size: int) -> np.ndarray:
    """One JPEG file as (3, size, size) bytes: shrunk until its shorter side fits, then its middle."""
    Image, ImageOps = _pillow()
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{path} is no picture of 160 px: it has {image.width} x {image.height}")
            square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, Image.DecompressionBombError) as broken:
        raise ValueError(f"{path} is not a whole JPEG picture ({broken})") from broken
    return np.asarray(square).transpose(2, 0, 1)


def _check_labels(where: str | Path, labels: np.ndarray, counts: tuple[int, ...]) -> None:
    found, expected = np.bincount(labels, minlength=256), np.zeros(256, dtype=int)
    expected[: len(counts)] = counts
    for label in np.flatnonzero(found != expected)[:1]:
        raise ValueError(
            f"the labels in {where} are not those of the set: label {label} comes {found[label]} times, "
            f"expected {expected[label]}"
        )


Files = Iterator[tuple[str, int, Callable[[], bytes]]]  # the name of each file, its size, and how to read it


def _members(place: Path, source: Source, most: Callable[[str], int | None]) -> dict[str, bytes]:
    """The files of a set by their names inside its folder; `most` is the size allowed, if wanted at all."""
    files = _in_folder(place) if place.is_dir() else _in_archive(place, source.folder)
    content = {}
    try:
        for name, size, read in files:
            limit = most(name)
            if limit is not None and size > limit:
                raise ValueError(
                    f"{place / name} is too large: it has {size} bytes, expected {limit} at most"
                )
            if limit is not None:
                content[name] = read()
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as broken:
        raise ValueError(f"{place} is not a whole archive ({broken}); fetch it again") from broken
    return content


def _in_folder(place: Path) -> Files:
    for path in place.rglob("*"):
        if path.is_file():
            yield path.relative_to(place).as_posix(), path.stat().st_size, path.read_bytes


def _in_archive(place: Path, folder: str) -> Files:
    with gzip.open(place) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if member.isreg() and path.is_relative_to(folder):
                yield path.relative_to(folder).as_posix(), member.size, archive.extractfile(member).read
        while stream.read(2**20):  # to its very end, where gzip keeps its checksum
            pass


# Where a set lies


def _find(source: Source) -> Path:
    """The folder or archive of a set: the reader's own, else the one in the cache, else fetched."""
    own = _own_folder()
    if own and (own / source.folder).is_dir():
        return own / source.folder
    if own and any((own / name).is_file() for name in source.sha256):
        return own / source.archive
    try:
        for name, sha256 in source.sha256.items():
            _downloads.fetch(name, sha256, source.mirrors)
    except ConnectionError as failed:
        raise ConnectionError(
            f"{source.name} is not in MINIGROK_DATA ({own or 'not set'}), and could not be fetched:\n"
            f"  {failed}\nTry again with a network, or put {' and '.join(source.sha256)} into a folder and "
            "set the environment variable MINIGROK_DATA to that folder. The lessons need neither: they run "
            "on scikit-learn's digits and on their recordings"
        ) from failed
    return _downloads.cache() / source.archive


def _own_folder() -> Path | None:
    named = os.environ.get("MINIGROK_DATA")
    if not named:
        return None
    own = Path(named).expanduser()
    if not own.is_dir():
        raise FileNotFoundError(f"MINIGROK_DATA must name a folder with data sets, and {own} is none")
    return own


# Tensors


def _chosen(source: Source, n_train: int | None, seed: int) -> np.ndarray:
    n = sum(source.train)
    n_train = n if n_train is None else n_train
    if not (isinstance(n_train, Integral) and 1 <= n_train <= n):
        raise ValueError(f"n_train must be a whole number from 1 to {n}, got {n_train!r}")
    return torch.randperm(n, generator=seeded(seed))[:n_train].numpy()


def _unit(pixels: np.ndarray) -> Tensor:
    return torch.tensor(pixels).float().div_(255)


def _labels(labels: np.ndarray) -> Tensor:
    return torch.tensor(labels, dtype=torch.int64)


def _pillow() -> tuple[ModuleType, ModuleType]:
    try:
        from PIL import Image, ImageOps
    except ImportError as missing:
        raise ImportError("Imagenette's pictures need Pillow: pip install 'minigrok[data]'") from missing
    return Image, ImageOps

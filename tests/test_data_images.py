"""The image sets, invented and small: read from a folder, an archive, a cache, and a server on loopback."""

import _thread
import contextlib
import dataclasses
import gzip
import hashlib
import io
import os
import socket
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image

from minigrok import _downloads, _images, data, recordings

# --- A server with faults -----------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        mirror, name = self.path[1:].split("/")
        content, fault = self.server.files.get(name), self.server.faults.get(mirror)
        if content is None or fault == "404":
            return self.send_error(404)
        self.send_response(200)
        if fault != "cut, no length":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        if fault == "wrong":
            content = bytes(len(content))
        self.wfile.write(content[:half])
        if fault in ("cut", "cut, no length"):
            return None
        if fault == "slow":
            self.server.over.wait(10)
        if fault == "ctrl-c":
            _thread.interrupt_main()
        self.wfile.write(content[half:])

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.asked, self.over = {}, {}, [], threading.Event()

    def handle_error(self, *_):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that has given up
            super().handle_error(*_)

    @property
    def mirrors(self):
        return tuple(f"http://127.0.0.1:{self.server_port}/{name}/" for name in ("first", "second"))


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """No folder of the reader's, a cache of our own, and nobody to be reached but this machine."""
    connect = socket.socket.connect

    def connect_here(self, address):
        assert self.family == getattr(socket, "AF_UNIX", None) or address[0] == "127.0.0.1", address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("MINIGROK_DATA", raising=False)
    monkeypatch.setenv("MINIGROK_CACHE", str(tmp_path / "cache"))


# --- Invented sets ------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Invented:
    """A small set: what the server has, what a folder holds, and the images in the order of the files."""

    load: object
    folder: str
    archive: str
    files: dict
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def packed(files, folder):
    """A .tar.gz with these files in this folder; also files beside them, as the official archives have."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in {"readme.html": b"hello", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def install(monkeypatch, server, name, fetched, train, test):
    """Put an invented set into the place of a real one."""
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in fetched.items()}
    small = dataclasses.replace(
        getattr(_images, name), sha256=hashes, mirrors=server.mirrors, train=train, test=test
    )
    monkeypatch.setattr(_images, name, small)
    server.files |= fetched
    return small


def records(rng, labels, coarse):
    pixels = rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    first = rng.integers(0, 20, (len(labels), int(coarse)), dtype=np.uint8)
    return pixels, np.hstack([first, labels[:, None], pixels.reshape(len(labels), -1)])


def invent_cifar(monkeypatch, server, name, n_labels, train_files, test_file):
    rng = np.random.default_rng(1)
    train, test = (5,) * n_labels, (2,) * n_labels
    y_train, y_test = (rng.permutation(np.repeat(np.arange(n_labels, dtype=np.uint8), n)) for n in (5, 2))
    x_train, rows = records(rng, y_train, n_labels == 100)
    x_test, test_rows = records(rng, y_test, n_labels == 100)
    parts = np.split(rows, len(train_files))
    files = {file: part.tobytes() for file, part in zip(train_files, parts, strict=True)}
    files[test_file] = test_rows.tobytes()
    source = getattr(_images, name)
    archive = packed(files, source.folder)
    install(monkeypatch, server, name, {source.archive: archive}, train, test)
    return Invented(None, source.folder, source.archive, files, x_train, y_train, x_test, y_test)


@pytest.fixture
def cifar10(monkeypatch, server):
    names = [f"data_batch_{k}.bin" for k in (1, 2, 3, 4, 5)]
    found = invent_cifar(monkeypatch, server, "CIFAR10", 10, names, "test_batch.bin")
    return dataclasses.replace(found, load=data.cifar10)


@pytest.fixture
def cifar100(monkeypatch, server):
    found = invent_cifar(monkeypatch, server, "CIFAR100", 100, ["train.bin"], "test.bin")
    return dataclasses.replace(found, load=data.cifar100)


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request):
    return request.getfixturevalue(request.param)


def unpack(files, folder):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def state_of(folder):
    """All that a file system tells of a folder and what is in it."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return [(path, os.stat(path).st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The reader's own folder, empty; whatever a test does, nothing in it may change that it did not put."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("MINIGROK_DATA", str(folder))
    return folder


@contextlib.contextmanager
def untouched(folder):
    before = state_of(folder)
    yield
    assert state_of(folder) == before


def cached():
    folder = Path(os.environ["MINIGROK_CACHE"])
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def holds(invented, loaded):
    """Whether the images are all of the invented ones, each with its label, the test images in order."""
    x_train, y_train, x_test, y_test = loaded
    labels = {image.tobytes(): int(y) for image, y in zip(invented.x_train, invented.y_train, strict=True)}
    found = [np.rint(image.numpy() * 255).astype(np.uint8).tobytes() for image in x_train]
    assert x_train.dtype == x_test.dtype == torch.float32 and y_train.dtype == y_test.dtype == torch.int64
    assert sorted(found) == sorted(labels) and [labels[image] for image in found] == y_train.tolist()
    assert torch.equal(x_test, torch.tensor(invented.x_test / np.float32(255)))
    assert torch.equal(y_test, torch.tensor(invented.y_test.astype(np.int64)))
    return True


# --- Where a set is found -----------------------------------------------------------------------------------


def test_the_sets_have_the_sizes_that_are_known():
    sizes = {"MNIST": (60_000, 10_000), "CIFAR10": (50_000, 10_000), "CIFAR100": (50_000, 10_000)}
    for name, expected in (sizes | {"IMAGENETTE": (9469, 3925)}).items():
        source = getattr(_images, name)
        assert (sum(source.train), sum(source.test)) == expected
        assert not source.archive or list(source.sha256) == [source.archive]
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in source.sha256.values())
        assert all(url.startswith("https://") and url.endswith("/") for url in source.mirrors)


@pytest.mark.parametrize("place", ["folder", "archive", "network"])
def test_a_folder_an_archive_and_the_network_give_the_same_images(cifar, own, server, place):
    if place == "folder":
        unpack(cifar.files, own / cifar.folder)
    if place == "archive":
        (own / cifar.archive).write_bytes(server.files[cifar.archive])
    with untouched(own):
        assert holds(cifar, cifar.load())
    assert server.asked == (["/first/" + cifar.archive] if place == "network" else [])
    assert cached() == ([cifar.archive] if place == "network" else [])


def test_a_smaller_set_begins_a_larger_one(cifar):
    whole, small, other = cifar.load(seed=3), cifar.load(20, seed=3), cifar.load(20, seed=4)
    assert torch.equal(small.x_train, whole.x_train[:20]) and torch.equal(small.y_train, whole.y_train[:20])
    assert torch.equal(small.x_test, whole.x_test) and len(other.x_train) == 20
    assert not torch.equal(small.x_train, other.x_train)


def test_what_is_cached_needs_no_network(cifar10, server):
    first = cifar10.load()
    server.files.clear()
    assert all(map(torch.equal, first, cifar10.load()))
    assert len(server.asked) == 1


def test_without_a_word_the_cache_is_the_systems(cifar10, monkeypatch, tmp_path):
    monkeypatch.delenv("MINIGROK_CACHE")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "system" / project)
    cifar10.load()
    assert (tmp_path / "system" / "minigrok" / cifar10.archive).is_file()


def test_two_who_fetch_at_once_both_get_it(cifar10):
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(cifar10.load) for _ in range(2)]
    assert all(holds(cifar10, one.result()) for one in both) and cached() == [cifar10.archive]


def test_a_pickle_is_never_read(cifar10, own, server):
    class Bomb:
        def __reduce__(self):
            return exec, ("raise SystemExit('a pickle was read')",)

    import pickle

    python = {f"data_batch_{k}": pickle.dumps(Bomb()) for k in range(1, 6)}
    unpack(python, own / "cifar-10-batches-py")
    (own / "cifar-10-python.tar.gz").write_bytes(packed(python, "cifar-10-batches-py"))
    with untouched(own):
        assert holds(cifar10, cifar10.load())
    assert server.asked  # what it could not use of its own it fetched


def test_a_folder_that_is_none_is_said(cifar10, monkeypatch, tmp_path, server):
    monkeypatch.setenv("MINIGROK_DATA", str(tmp_path / "typo"))
    with pytest.raises(
        FileNotFoundError, match="MINIGROK_DATA must name a folder with data sets, and .*typo"
    ):
        cifar10.load()
    assert not server.asked


@pytest.mark.parametrize("bad", [0, -1, 51, 20.0, "20"])
def test_sizes_that_are_not_there_are_refused_before_anything_is_fetched(cifar10, server, bad):
    with pytest.raises(ValueError, match="n_train must be a whole number from 1 to 50, got"):
        cifar10.load(bad)
    assert not server.asked


def test_the_pixels_tell_what_was_trained_on(cifar10, own):
    fetched = recordings.data_hash(cifar10.load())
    unpack(cifar10.files, own / cifar10.folder)
    assert recordings.data_hash(cifar10.load()) == fetched
    changed = bytearray(cifar10.files["data_batch_2.bin"])
    changed[100] ^= 1  # one pixel, by one
    (own / cifar10.folder / "data_batch_2.bin").write_bytes(changed)
    assert recordings.data_hash(cifar10.load()) != fetched


# --- Downloads that go wrong --------------------------------------------------------------------------------

FAULTS = {
    "cut": "no connection, or it broke",
    "cut, no length": "what came is not the file: it has another SHA-256",
    "wrong": "what came is not the file: it has another SHA-256",
    "404": "the server answered 404 Not Found",
    "slow": "nothing came for 1 s",
}


@pytest.fixture(params=FAULTS)
def fault(request, monkeypatch):
    if request.param == "slow":  # patience for the other faults: a busy machine pauses too
        monkeypatch.setattr(_downloads, "TIMEOUT", 1.0)
    return request.param


def test_a_mirror_that_fails_is_said_and_the_next_one_tried(cifar10, server, fault):
    server.faults["first"] = fault
    with pytest.warns(UserWarning, match=f"first/{cifar10.archive}: {FAULTS[fault]}.* Trying the next mirr"):
        assert holds(cifar10, cifar10.load())
    assert cached() == [cifar10.archive]


def test_when_all_mirrors_fail_the_error_says_what_was_tried_and_nothing_stays(cifar10, server, fault):
    server.faults |= {"first": fault, "second": fault}
    with pytest.warns(UserWarning, match="Trying the next mirror"), pytest.raises(ConnectionError) as failed:
        cifar10.load()
    text = str(failed.value)
    for mirror in server.mirrors:
        assert f"{mirror}{cifar10.archive}: {FAULTS[fault]}" in text
    assert "CIFAR-10 is not in MINIGROK_DATA (not set), and could not be fetched" in text
    assert "Try again with a network, or put cifar-10-binary.tar.gz into a folder and set the env" in text
    assert "The lessons need neither" in text
    assert cached() == []
    server.faults.clear()
    assert holds(cifar10, cifar10.load())


def test_without_a_network_the_error_says_what_to_do(cifar10, own, monkeypatch):
    with socket.socket() as nobody:  # bound, and not listening: this port answers nobody
        nobody.bind(("127.0.0.1", 0))
        mirrors = (f"http://127.0.0.1:{nobody.getsockname()[1]}/",)
        monkeypatch.setattr(_images, "CIFAR10", dataclasses.replace(_images.CIFAR10, mirrors=mirrors))
        with untouched(own), pytest.raises(ConnectionError, match="no connection, or it broke") as failed:
            cifar10.load()
    assert f"CIFAR-10 is not in MINIGROK_DATA ({own})" in str(failed.value)


def test_ctrl_c_in_the_middle_leaves_nothing(cifar10, server):
    server.faults["first"] = "ctrl-c"
    with pytest.raises(KeyboardInterrupt):
        cifar10.load()
    assert cached() == []
    server.faults.clear()
    assert holds(cifar10, cifar10.load())


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_broken_file_in_the_cache_is_set_aside_and_fetched_again(cifar10, server, damage):
    cifar10.load()
    path = Path(os.environ["MINIGROK_CACHE"], cifar10.archive)
    whole = path.read_bytes()
    broken = {"cut": whole[:-5], "changed": whole[:99] + b"?" + whole[100:], "empty": b""}[damage]
    path.write_bytes(broken)
    with pytest.warns(
        UserWarning, match=rf"{path.name} was broken: it is now {path.name}\.broken, and is fe"
    ):
        assert holds(cifar10, cifar10.load())
    assert path.read_bytes() == whole and Path(f"{path}.broken").read_bytes() == broken
    assert cached() == [path.name, f"{path.name}.broken"] and len(server.asked) == 2


def test_a_cache_that_cannot_be_written_is_said(cifar10, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINIGROK_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"cache cannot be written .* MINIGROK_CACHE names another folder"):
        cifar10.load()


def test_a_download_shows_how_far_it_is(cifar10, capsys):
    cifar10.load()
    assert "100%" in capsys.readouterr().err


def test_without_tqdm_there_is_no_bar(cifar10, capsys, monkeypatch):
    monkeypatch.setattr(_downloads, "find_spec", lambda name: None)
    assert holds(cifar10, cifar10.load())
    assert "%" not in capsys.readouterr().err


def test_without_pooch_the_error_says_what_to_install(cifar10, own, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        ImportError, match=r"needs pooch: pip install 'minigrok\[data\]', or set .*MINIGROK_D"
    ):
        cifar10.load()
    unpack(cifar10.files, own / cifar10.folder)
    assert holds(cifar10, cifar10.load())  # one's own files need none


# --- Files that are not what they should be -----------------------------------------------------------------


def relabelled(files, name, row, label):
    content = bytearray(files[name])
    content[row * 3073] = label
    return {name: bytes(content)}


WRONG = {
    "short": (lambda f: {"data_batch_3.bin": f["data_batch_3.bin"][:-1]}, "has 30729 bytes, not 30730"),
    "long": (lambda f: {"test_batch.bin": bytes(61_461)}, "test_batch.bin is too large: it has 61461 bytes"),
    "labels": (
        lambda f: {"test_batch.bin": bytes(61_460)},
        "test_batch.bin .* label 0 comes 20 times, exp.* 2",
    ),
    "range": (
        lambda f: relabelled(f, "data_batch_1.bin", 4, 10),
        "data_batch_1.bin .* label . comes 4 times",
    ),
}


@pytest.mark.parametrize("kind", ["folder", "archive"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_in_the_readers_folder_is_named_and_left(cifar10, own, server, wrong, kind):
    change, text = WRONG[wrong]
    files = cifar10.files | change(cifar10.files)
    if kind == "folder":
        unpack(files, own / cifar10.folder)
    else:
        (own / cifar10.archive).write_bytes(packed(files, cifar10.folder))
    with untouched(own), pytest.raises(ValueError, match=text) as error:
        cifar10.load()
    assert str(own / getattr(cifar10, kind)) in str(error.value)
    assert not server.asked and cached() == []


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_missing_file_in_the_readers_folder_is_named(cifar10, own, server, kind):
    files = {name: content for name, content in cifar10.files.items() if name != "data_batch_4.bin"}
    unpack(files, own / cifar10.folder)
    if kind == "archive":
        (own / cifar10.folder).rename(own / "elsewhere")
        (own / cifar10.archive).write_bytes(packed(files, cifar10.folder))
    with untouched(own), pytest.raises(FileNotFoundError, match=r"data_batch_4.bin is missing"):
        cifar10.load()
    assert not server.asked


@pytest.mark.parametrize("damage", ["no archive", "cut", "no end", "changed"])
def test_a_broken_archive_of_the_reader_is_named_and_left(cifar10, own, server, damage):
    whole = server.files[cifar10.archive]
    broken = {
        "no archive": b"hello",
        "cut": whole[: len(whole) // 2],
        "no end": whole[:-8],  # all of the content, without gzip's checksum of it
        "changed": whole[:-8] + bytes(4) + whole[-4:],
    }[damage]
    (own / cifar10.archive).write_bytes(broken)
    with (
        untouched(own),
        pytest.raises(ValueError, match=r"binary.tar.gz is not a whole archive .*fetch it ag"),
    ):
        cifar10.load()
    assert not server.asked


def test_an_archive_can_write_nowhere(cifar10, own, tmp_path):
    files = {"../../escaped": b"x", "sub/../../escaped": b"x"}
    (own / cifar10.archive).write_bytes(packed(cifar10.files | files, f"./{cifar10.folder}"))
    with untouched(tmp_path):
        assert holds(cifar10, cifar10.load())


def test_a_link_in_an_archive_is_not_followed(cifar10, own):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in cifar10.files:
            member = tarfile.TarInfo(f"{cifar10.folder}/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            archive.addfile(member)
    (own / cifar10.archive).write_bytes(buffer.getvalue())
    with pytest.raises(FileNotFoundError, match="data_batch_1.bin is missing"):
        cifar10.load()


# --- Imagenette ---------------------------------------------------------------------------------------------

WORDNET = _images.WORDNET.split()


def jpeg(pixels, kind="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, kind, quality=95)
    return buffer.getvalue()


def striped(colour, height, width):
    """A picture whose middle square has the colour; what lies outside of it is white."""
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = colour
    return pixels


@pytest.fixture
def imagenette(monkeypatch, server):
    """Two training pictures and one test picture of each class, wide and high; each class has its red."""
    files = {}
    for label, name in enumerate(WORDNET):
        colour = (20 * label, 100, 50)
        files[f"train/{name}/{name}_2.JPEG"] = jpeg(striped(colour, 160, 240))
        files[f"train/{name}/{name}_10.JPEG"] = jpeg(striped(colour, 208, 160))
        files[f"val/{name}/some_{label}.JPEG"] = jpeg(striped(colour, 160, 160))
    source = _images.IMAGENETTE
    archive = packed(files, source.folder)
    install(monkeypatch, server, "IMAGENETTE", {source.archive: archive}, (2,) * 10, (1,) * 10)
    return files


@pytest.mark.parametrize("size", [16, 32, 128, 160])
def test_imagenettes_pictures_are_their_middle_at_the_size_asked_for(imagenette, size):
    x_train, y_train, x_test, y_test = data.imagenette(size=size)
    assert x_train.shape == (20, 3, size, size) and x_test.shape == (10, 3, size, size)
    assert y_train.bincount().tolist() == [2] * 10 and y_test.tolist() == list(range(10))
    edge = 2  # into the outermost pixels shines the white beside the middle
    for x, y in ((x_train, y_train), (x_test, y_test)):
        inner = x[:, :, edge : size - edge, edge : size - edge] * 255
        expected = torch.stack([20.0 * y, torch.full_like(y, 100.0), torch.full_like(y, 50.0)], dim=1)
        assert ((inner - expected[:, :, None, None]).abs() <= 6).all()
        assert x.min() >= 0 and x.max() <= 1 and x.dtype == torch.float32


def test_imagenette_is_the_same_from_a_folder_and_an_archive(imagenette, own, server):
    fetched = data.imagenette(12, size=16, seed=5)
    folder = own / "imagenette2-160"
    unpack(dict(reversed(imagenette.items())), folder)
    with untouched(own):
        again = data.imagenette(20, size=16, seed=5)
    assert torch.equal(again.x_train[:12], fetched.x_train) and torch.equal(
        again.y_train[:12], fetched.y_train
    )
    assert torch.equal(again.x_test, fetched.x_test) and len(server.asked) == 1


def test_a_grey_picture_has_three_channels_alike(imagenette, own):
    grey = {"val/n01440764/some_0.JPEG": jpeg(np.full((160, 200), 77))}
    unpack(imagenette | grey, own / "imagenette2-160")
    first = data.imagenette(1, size=8).x_test[0] * 255
    assert ((first - 77).abs() <= 1).all()


BAD = {
    "png": (lambda p: jpeg(np.zeros((160, 160)), "PNG"), r"some_0.JPEG is not a whole JPEG picture"),
    "cut": (lambda p: p[: len(p) // 2], r"some_0.JPEG is not a whole JPEG picture"),
    "no jpeg": (lambda p: b"hello", r"some_0.JPEG is not a whole JPEG picture"),
    "long": (
        lambda p: p + bytes(2**20),
        r"some_0.JPEG is too large: it has \d+ bytes, expected 1048576 at m",
    ),
    "large": (lambda p: jpeg(np.zeros((1100, 1000))), r"some_0.JPEG is no picture of 160 px: .*1000 x 1100"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_picture_is_named(imagenette, own, bad):
    change, text = BAD[bad]
    name = "val/n01440764/some_0.JPEG"
    unpack(imagenette | {name: change(imagenette[name])}, own / "imagenette2-160")
    with untouched(own), pytest.raises(ValueError, match=text):
        data.imagenette(1, size=8)


def test_pictures_missing_or_of_another_set_are_said(imagenette, own):
    folder = own / "imagenette2-160"
    unpack(imagenette | {"train/n02086240/dog.JPEG": b"of another set", "train/a.txt": b""}, folder)
    data.imagenette(1, size=8)
    (folder / "train/n03000684/n03000684_2.JPEG").unlink()
    with pytest.raises(
        ValueError, match=r"train are not those of the set: label 3 comes 1 times, expected 2"
    ):
        data.imagenette(1, size=8)


@pytest.mark.parametrize("bad", [0, 161, 64.0])
def test_sizes_no_picture_has_are_refused(imagenette, server, bad):
    with pytest.raises(ValueError, match=f"size, the side of a picture, .* from 1 to 160, got {bad}"):
        data.imagenette(size=bad)
    assert not server.asked


def test_without_pillow_nothing_is_fetched(imagenette, server, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pictures need Pillow: pip install 'minigrok\[data\]'"):
        data.imagenette()
    assert not server.asked


# --- MNIST --------------------------------------------------------------------------------------------------


def test_mnist_is_read_from_the_readers_folder(mnist_folder, monkeypatch):
    monkeypatch.setenv("MINIGROK_DATA", str(mnist_folder))
    labels = gzip.decompress((mnist_folder / "MNIST/raw/t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    with untouched(mnist_folder):
        x_train, y_train, x_test, y_test = data.mnist(300, seed=3)
    assert x_train.shape == (300, 784) and x_test.shape == (10_000, 784) and x_test.dtype == torch.float32
    assert y_test.tolist() == list(labels) and y_train.shape == (300,) and y_train.dtype == torch.int64
    assert torch.equal(x_test[:, 0], (torch.arange(10_000) % 256) / 255)
    assert (x_train == x_train[:, :1]).all() and 0 <= x_train.min() and x_train.max() <= 1
    assert torch.equal(data.mnist(100, seed=3).x_train, x_train[:100])
    assert not torch.equal(data.mnist(100, seed=4).x_train, x_train[:100])
    with pytest.raises(ValueError, match="n_train must be a whole number from 1 to 60000, got 60001"):
        data.mnist(60_001)


@pytest.fixture
def small_mnist(monkeypatch, server):
    """Three training images and one test image of each digit; every image has a brightness of its own."""
    files = {}
    for part, n in (("train", 3), ("t10k", 1)):
        pixels = np.repeat(np.arange(10 * n, dtype=np.uint8), 784)
        header = np.array([0x803, 10 * n, 28, 28], dtype=">u4").tobytes()
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(header + pixels.tobytes())
        header = np.array([0x801, 10 * n], dtype=">u4").tobytes()
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(header + bytes(range(10)) * n)
    install(monkeypatch, server, "MNIST", files, (3,) * 10, (1,) * 10)
    return files


@pytest.mark.parametrize("place", ["MNIST/raw", ".", "network"])
def test_mnist_lies_in_its_folder_or_loose_or_on_the_network(small_mnist, own, server, place):
    if place != "network":
        unpack(small_mnist, own / place)
    with untouched(own):
        x_train, y_train, x_test, y_test = data.mnist()
    brightness = (x_train[:, 5] * 255).round().long()
    assert sorted(brightness.tolist()) == list(range(30)) and torch.equal(y_train, brightness % 10)
    assert torch.equal((x_test[:, 5] * 255).round().long(), y_test) and y_test.tolist() == list(range(10))
    assert len(server.asked) == (4 if place == "network" else 0)
    assert cached() == (sorted(small_mnist) if place == "network" else [])


def test_the_error_names_all_files_of_mnist(small_mnist, server):
    server.files.clear()
    with pytest.warns(UserWarning, match="404"), pytest.raises(ConnectionError) as failed:
        data.mnist()
    assert " and ".join(small_mnist) in str(failed.value)


IMAGES = np.array([0x803, 30, 28, 28], dtype=">u4").tobytes()


@pytest.mark.parametrize(
    "content, text",
    [
        (b"hello", "train-images-idx3-ubyte.gz is not a whole gzip file"),
        (gzip.compress(IMAGES + bytes(30 * 784))[:-9], "is not a whole gzip file"),
        (gzip.compress(IMAGES + bytes(30 * 784))[:-8] + bytes(8), "is not a whole gzip file"),
        (gzip.compress(IMAGES), "before 0 bytes or more, expected"),
        (gzip.compress(IMAGES + bytes(10**6)), "before 23521 bytes or more, expected .* before 23520"),
        (gzip.compress(b"abc"), "is not MNIST's train-images-idx3-ubyte.gz"),
    ],
    ids=["no gzip", "cut short", "wrong sum", "no pixels", "too many", "no header"],
)
def test_a_file_that_is_not_mnist_is_named(small_mnist, own, content, text):
    unpack(small_mnist | {"train-images-idx3-ubyte.gz": content}, own / "MNIST" / "raw")
    with untouched(own), pytest.raises(ValueError, match=text):
        data.mnist()


def test_labels_that_are_not_mnists_and_a_missing_file_are_named(small_mnist, own):
    raw = own / "MNIST" / "raw"
    header = np.array([0x801, 10], dtype=">u4").tobytes()
    unpack(small_mnist | {"t10k-labels-idx1-ubyte.gz": gzip.compress(header + bytes(10))}, raw)
    with pytest.raises(
        ValueError, match="t10k-labels.* are not those of the set: label 0 comes 10 times, ex"
    ):
        data.mnist()
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        FileNotFoundError, match="t10k-labels-idx1-ubyte.gz is missing; the other files of MN"
    ):
        data.mnist()

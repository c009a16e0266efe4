"""recordings: what is saved comes back, what is damaged is refused, and nothing half-written stays."""

import io
import json
import os
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrok import recordings

FACTS = {"command": "python experiments/toy.py", "seed": 0, "seconds": 2.5}
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
dtypes = st.sampled_from(["float32", "float64", "int64", "uint8", "bool"])
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, min_side=0))
words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)
names = words | st.sampled_from(["file", "arr_0", "allow_pickle"])  # words of np.savez, which fails on some


@settings(same_folder, max_examples=30)
@given(contents=st.dictionaries(names, arrays, min_size=1))
def test_what_is_saved_comes_back(tmp_path, contents):
    path = tmp_path / "toy.npz"
    saved, loaded = recordings.save(path, contents, **FACTS), recordings.load(path)
    assert saved.provenance == loaded.provenance
    assert list(loaded.arrays) == list(contents)
    for name, array in contents.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)
        np.testing.assert_array_equal(saved[name], array)
    assert os.listdir(tmp_path) == ["toy.npz"]


def test_tensors_lists_and_numbers_become_arrays(tmp_path):
    weights = torch.ones(2, 3, requires_grad=True)
    recordings.save(tmp_path / "a.npz", {"weights": weights, "steps": [0, 1, 5], "best": 0.5}, **FACTS)
    loaded = recordings.load(tmp_path / "a.npz")
    assert loaded["weights"].dtype == np.float32 and loaded["weights"].shape == (2, 3)
    assert loaded["steps"].tolist() == [0, 1, 5] and loaded["best"] == 0.5


def test_numpy_opens_it_too_and_the_provenance_is_plain_text(tmp_path):
    recordings.save(tmp_path / "a.npz", {"loss": np.arange(3.0)}, note="Grüße", **FACTS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive["loss"].tolist() == [0, 1, 2]
    text = zipfile.ZipFile(tmp_path / "a.npz").read("provenance.json").decode()
    assert json.loads(text)["note"] == "Grüße" and "Grüße" in text


def test_provenance_says_what_made_it(tmp_path):
    x, y = torch.zeros(4, 2), torch.arange(4)
    facts = FACTS | {"seed": range(3), "data": (x, y), "note": "try"}
    recordings.save(tmp_path / "a.npz", {"loss": [1.0]}, **facts)
    facts = recordings.load(tmp_path / "a.npz").provenance
    assert facts["command"] == "python experiments/toy.py" and facts["note"] == "try"
    assert facts["seed"] == [0, 1, 2] and facts["seconds"] == 2.5
    assert facts["data"] == recordings.data_hash((x, y)) and len(facts["data"]) == 64
    assert facts["torch"] == torch.__version__ and facts["numpy"] == np.__version__
    assert facts["device"] and facts["threads"] == torch.get_num_threads()
    assert facts["date"].endswith("+00:00")


def test_the_data_hash_sees_values_shapes_types_and_order():
    x = torch.arange(6.0)
    different = [x, x.double(), x.view(2, 3), x + 1, (x, x + 1), (x + 1, x), [x], {"a": x}, {"b": x}]
    assert len({recordings.data_hash(data) for data in different}) == len(different)
    assert recordings.data_hash(x.view(2, 3).T) == recordings.data_hash(x.view(2, 3).T.contiguous())
    assert recordings.data_hash(x) == recordings.data_hash(x.numpy())


@pytest.mark.parametrize(
    "seconds, text",
    [(2.4, "2 s"), (89, "89 s"), (90, "2 min"), (720, "12 min"), (5400, "1.5 h"), (40_000, "11.1 h")],
)
def test_cite_is_one_sentence(tmp_path, seconds, text):
    recording = recordings.save(tmp_path / "a.npz", {"x": 1}, **FACTS | {"seconds": seconds})
    recording.provenance.update(device="a laptop", date="2026-11-20T10:00:00+00:00")
    sentence = f"Recorded on a laptop on 2026-11-20 in {text} with seed 0 by `python experiments/toy.py`."
    assert recording.cite() == sentence
    assert repr(recording) == f"Recording(x (); {sentence})"


def test_an_unknown_name_is_refused_with_those_there_are(tmp_path):
    recording = recordings.save(tmp_path / "a.npz", {"loss": 1.0, "step": 0}, **FACTS)
    with pytest.raises(KeyError, match="no array 'lose' in this recording, only 'loss', 'step'"):
        recording["lose"]


@pytest.mark.parametrize("bad", ["text", object(), [[1, 2], [3]], None, ["a"]])
def test_what_only_a_pickle_could_hold_is_refused(tmp_path, bad):
    with pytest.raises(TypeError, match="'frames' must be .* of numbers, got"):
        recordings.save(tmp_path / "a.npz", {"frames": bad}, **FACTS)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("contents, command", [({}, "make it"), ({"x": 1}, " ")])
def test_a_recording_of_nothing_or_by_nothing_is_refused(tmp_path, contents, command):
    with pytest.raises(ValueError, match="needs arrays and the command that made them"):
        recordings.save(tmp_path / "a.npz", contents, command=command, seed=0, seconds=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("recordings") / "whole.npz"
    noise = np.random.default_rng(0).random(300)
    recordings.save(path, {"noise": noise, "steps": np.arange(40)}, **FACTS)
    return path.read_bytes()


def refused(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"{path.name} is not a whole minigrok recording .*make it again"):
        recordings.load(path)
    assert path.read_bytes() == before  # left as it is


@same_folder
@given(part=st.floats(0, 1, exclude_max=True))
def test_a_recording_cut_short_is_refused(tmp_path, whole, part):
    path = tmp_path / "cut.npz"
    path.write_bytes(whole[: int(part * len(whole))])
    refused(path)


@same_folder
@given(part=st.floats(0, 1, exclude_max=True))
def test_one_changed_byte_in_an_array_is_refused(tmp_path, whole, part):
    path = tmp_path / "flipped.npz"
    info = zipfile.ZipFile(io.BytesIO(whole)).getinfo("noise.npy")
    first = info.header_offset + 30 + len("noise.npy") + 1  # past a bit that only says "last block"
    at = first + int(part * (info.compress_size - 4))  # before the mark of the end, which nobody needs
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    refused(path)


@same_folder
@given(part=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_changed_bit_anywhere_is_refused_or_harmless(tmp_path, whole, part, bit):
    path, at = tmp_path / "flipped.npz", int(part * len(whole))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    try:
        recording = recordings.load(path)
    except ValueError as error:
        assert "is not a whole minigrok recording" in str(error)
    else:  # a time stamp, say
        assert set(recording.arrays) == {"noise", "steps"}
        assert recording["noise"].shape == (300,) and recording["steps"].tolist() == list(range(40))


def test_damage_to_the_list_of_parts_hides_no_array(tmp_path, whole):
    path, at = tmp_path / "hidden.npz", whole.index(b"PK\x01\x02")
    swallowed = whole.index(b"PK\x05\x06") - at - 46 - len("provenance.json")  # as a comment of the first
    path.write_bytes(whole[: at + 32] + swallowed.to_bytes(2, "little") + whole[at + 34 :])
    refused(path)


def test_foreign_files_are_refused(tmp_path):
    np.savez(tmp_path / "plain.npz", x=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], dtype=object), **{"provenance.json": np.zeros(1)})
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "single.npy", np.zeros(3))
    for name in ("plain.npz", "pickled.npz", "text.npz", "single.npy"):
        refused(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "later.npz", "w") as archive:
        archive.writestr("provenance.json", '{"format": "minigrok recording 7"}')
    with pytest.raises(ValueError, match="its format is 'minigrok recording 7', expected 'minigrok record"):
        recordings.load(tmp_path / "later.npz")


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recording .*none\.npz .*open the lesson in the"):
        recordings.load(tmp_path / "none.npz")


@pytest.mark.parametrize("breaks", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_older_file_and_nothing_else(tmp_path, monkeypatch, breaks):
    path = tmp_path / "deep" / "a.npz"  # the folder is made
    recordings.save(path, {"x": 1.0}, **FACTS)

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, breaks, broken)
    with pytest.raises(KeyboardInterrupt):
        recordings.save(path, {"x": 2.0}, **FACTS)
    assert os.listdir(path.parent) == ["a.npz"] and recordings.load(path)["x"] == 1.0


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ([0], "seeds 0 by"),
        ([0, 1], "seeds 0, 1 by"),
        (list(range(30)), "seeds 0 to 29 by"),
        ([7, 2, 0, 1, 8], "seeds 0 to 2, 7, 8 by"),
    ],
)
def test_many_seeds_are_told_as_a_range(seeds, told):
    facts = {"device": "a laptop", "date": "2026-11-20", "seconds": 1.0, "seed": seeds, "command": "run"}
    assert told in recordings.Recording({}, facts).cite()


@pytest.mark.parametrize(
    ("system", "name"), [("linux", "An Intel"), ("darwin", "An Apple"), ("win32", "A Windows PC")]
)
def test_the_processor_is_named_on_every_system(monkeypatch, system, name):
    def ask(command, **options):
        assert command[0] == "sysctl" and system == "darwin"
        return subprocess.CompletedProcess(command, 0, stdout="An Apple\n")

    monkeypatch.setattr(recordings.sys, "platform", system)
    monkeypatch.setattr(recordings.subprocess, "run", ask)
    monkeypatch.setattr(recordings.platform, "processor", lambda: "A Windows PC")
    monkeypatch.setattr(recordings.Path, "read_text", lambda path: "processor: 0\nmodel name\t: An Intel\n")
    assert recordings.machine()["device"] == name


def test_a_linux_that_keeps_the_name_to_itself_is_known_by_its_kind(monkeypatch):
    monkeypatch.setattr(recordings.sys, "platform", "linux")
    monkeypatch.setattr(recordings.Path, "read_text", lambda path: "processor: 0\n")
    monkeypatch.setattr(recordings.platform, "machine", lambda: "riscv64")
    assert recordings.machine()["device"] == "riscv64"

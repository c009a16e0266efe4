"""experiments/mnist_noise.py on invented digits: paired networks, the noise it says, a recording."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from minigrok import recordings, training

SCRIPT = Path(__file__).parents[1] / "experiments" / "mnist_noise.py"


@pytest.fixture
def script(tmp_path, monkeypatch, mnist_folder):
    """The script as a module, with two seeds and folders of its own."""
    monkeypatch.setenv("MINIGROK_DATA", str(mnist_folder))
    spec = importlib.util.spec_from_file_location("mnist_noise", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SEEDS", [0, 1])
    monkeypatch.setattr(module, "RUN", tmp_path / "run")
    monkeypatch.setattr(module, "RECORDING", tmp_path / "mnist_noise.npz")
    return module


def test_both_networks_of_a_seed_begin_alike_and_part_by_the_noise_alone(script):
    run = script.train(3)
    norm = run["norm"]
    assert np.array_equal(norm[0, :2], norm[0, 2:]) and norm[0, 0] != norm[0, 1]
    assert not np.array_equal(norm[-1, :2], norm[-1, 2:])
    assert (run["sigma"][:, :2] == 0).all() and (run["sigma"][:, 2:] >= script.LAST).all()


def test_the_noise_falls_with_the_training_accuracy(script):
    x, y, _, _ = script.images([0, 1])
    state = script.new_state([0, 1])
    share = training.accuracy(state.model, x, y)[2:]
    expected = torch.maximum(script.FIRST * (1 - share), torch.tensor(script.LAST))
    assert torch.equal(script.noise(state.model, x, y), torch.cat([torch.zeros(2), expected]))


def test_a_stopped_run_goes_on_to_the_same_end(script, tmp_path, monkeypatch):
    script.train(2)
    resumed = script.train(4)
    monkeypatch.setattr(script, "RUN", tmp_path / "another")
    whole = script.train(4)
    assert np.array_equal(resumed["norm"], whole["norm"])


def test_the_recording_has_all_that_the_figures_need(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mnist_noise.py", "--steps", "2"])
    script.main()
    recording = recordings.load(script.RECORDING)
    assert recording["steps"].tolist() == [0, 1, 2]
    for name in ("train_accuracy", "test_accuracy", "norm", "sigma", "pe", "pmi", "ed", "mid"):
        assert recording[name].shape == (3, 2, 2) and np.isfinite(recording[name]).all(), name
    assert recording.provenance["command"] == "python experiments/mnist_noise.py --steps 2"
    assert "wrote" in capsys.readouterr().out

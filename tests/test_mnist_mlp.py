"""experiments/mnist_mlp.py on invented digits: its settings, what a run leaves, and what it measures."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from minigrok import attacks, data, models

SCRIPT = Path(__file__).parents[1] / "experiments" / "mnist_mlp.py"


@pytest.fixture
def script(tmp_path, monkeypatch, mnist_folder):
    """The script as a module, with folders of its own and short settings."""
    monkeypatch.setenv("MINIGROK_DATA", str(mnist_folder))
    spec = importlib.util.spec_from_file_location("mnist_mlp", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mnist_mlp", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    small = replace(module.Setting(), width=8, n_train=250, seeds=(0, 1))
    monkeypatch.setitem(module.SETTINGS, "short", replace(small, steps=2))
    return module


def test_the_factors_change_one_thing_each(script):
    base = script.Setting()
    for name, setting in script.FACTORS.items():
        changed = [key for key in vars(base) if getattr(setting, key) != getattr(base, key)]
        assert changed, name
        assert len(set(changed) - {"loss", "n_train", "steps"}) <= 1, (name, changed)


def test_each_seed_has_its_own_images_and_random_labels_are_the_same_on_every_call(script):
    first, other = (script.images(script.SETTINGS["short"], seed) for seed in (0, 1))
    assert not torch.equal(first.x_train, other.x_train) and len(first.x_train) == 250
    random = replace(script.SETTINGS["short"], random_labels=True)
    labels = [script.images(random, 0).y_train for _ in range(2)]
    assert torch.equal(*labels) and (labels[0] != first.y_train).float().mean() > 0.7


def test_a_finished_run_is_not_trained_again_and_leaves_its_snapshots(script):
    run = script.train("short", progress=False)
    again = script.train("short", progress=False)
    assert np.array_equal(run["norm"], again["norm"]) and run["norm"].shape == (3, 2)
    assert sorted(path.name for path in (script.RUNS / "short").glob("[0-9]*.pt")) == ["0.pt", "1.pt", "2.pt"]


def digits_and_network():
    images = data.digits(200)
    net = models.mlp([64, 20, 20, 10], generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images.x_train), images.y_train).backward()
        optimizer.step()
    return images, net.requires_grad_(False)


def test_units_that_never_or_always_bend_are_told_apart(script):
    images, net = digits_and_network()
    net[0].bias[:3], net[0].bias[3:5] = -100, 100
    first = script.unit_states(net, images.x_train)[0]
    assert (first[:3] == -1).all() and (first[3:5] == 1).all()


def test_the_margin_is_above_0_just_where_the_answer_is_right(script):
    images, net = digits_and_network()
    right = net(images.x_test).argmax(1) == 3
    assert torch.equal(script.margin(net, images.x_test, torch.tensor(3)) > 0, right)


def test_who_survives_all_attacks_survives_one(script, monkeypatch):
    images, net = digits_and_network()
    x, y = images.x_test[:60], images.y_test[:60]
    monkeypatch.setattr(
        script.attacks, "square", lambda *args, image, **options: attacks.pgd(*args, **options)
    )  # the digits are no pictures of 28 x 28
    survive = script.survive_all(net, x, y, 0.05, earlier=net)
    one = attacks.pgd(net, x, y, 0.05, generator=torch.Generator().manual_seed(2))
    assert 0 < survive.sum() and not (survive & one.success).any()

"""experiments/nap_mnist.py on small digits: its counts against counts by hand, a recording, a second call."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from minigrok import data, models, naps, recordings

SCRIPT = Path(__file__).parents[1] / "experiments" / "nap_mnist.py"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script as a module, with small networks and digits of 8 x 8 pixels, and folders of its own."""
    spec = importlib.util.spec_from_file_location("nap_mnist", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    changes = {"SIZES": {"256x2": [64, 24, 24, 10]}, "SEEDS": [0, 1], "EPOCHS": 60, "BALLS": 20}
    changes |= {"RUN": tmp_path / "run", "RECORDING": tmp_path / "nap_mnist.npz", "DELTAS": [1.0, 0.9]}
    for name, value in changes.items():
        monkeypatch.setattr(module, name, value)
    return module


@pytest.fixture(scope="module")
def images():
    return data.digits(300)


@pytest.fixture(scope="module")
def net():
    return models.mlp([64, 12, 12, 10], generator=torch.Generator().manual_seed(3), scale=2.0)


def test_a_pixel_is_a_unit_that_is_on_above_a_half(script, images):
    (active,) = naps.states(script.pixel_units(64), images.x_test)
    assert torch.equal(active, images.x_test > 0.5)


def test_violations_are_those_of_the_pattern_of_the_answer(script, images, net):
    found = naps.mine(net, images.x_train, images.y_train, delta=0.9)
    x, answers = images.x_test[:40], images.y_test[:40]
    active = torch.cat(naps.states(net, x), 1)
    expected = [found[int(k)].violations(net, x[i : i + 1]).item() for i, k in enumerate(answers)]
    assert script.violations(active, answers, found).tolist() == expected and max(expected) > 0


def test_shared_units_are_fixed_alike_by_all(script):
    def nap(active, inactive):
        return naps.NAP((torch.tensor(active) > 0,), (torch.tensor(inactive) > 0,))

    found = {0: nap([1, 0, 1, 0], [0, 1, 0, 0]), 1: nap([1, 0, 0, 0], [0, 1, 1, 0])}
    assert script.shared(found) == 2


def test_mined_under_shuffled_labels_is_judged_by_the_right_ones(script, images, net):
    shuffled = images.y_train.roll(1)
    found = script.mined(net, images, shuffled)
    for i, delta in enumerate(script.DELTAS):
        patterns = naps.mine(net, images.x_train, shuffled, delta=delta)
        follow = naps.followers(patterns, net, images.x_test)
        own = follow.gather(1, images.y_test[:, None])
        assert found["total"][i] == pytest.approx(own.double().mean().item())
        assert found["others"][i].sum() == follow.sum() - own.sum()
        fixed = found["active"][i].sum() + found["inactive"][i].sum()
        assert fixed == pytest.approx(np.mean([p.size for p in patterns.values()]))
    assert found["recall_train"][0] == 1  # at delta = 1 all that it was mined from follow


def test_left_out_is_mining_from_the_others_and_asking_the_one(script, images, net):
    x, y = images.x_train[:60], images.y_train[:60]
    follow = []
    for i in range(60):
        kept = torch.arange(60) != i
        found = naps.mine(net, x[kept], y[kept], delta=1.0)
        follow.append(int(y[i]) in found and found[int(y[i])].follows(net, x[i : i + 1]).item())
    share = script.left_out(net, images._replace(x_train=x, y_train=y))
    assert share == pytest.approx(np.mean(follow)) and 0 < share < 1


def test_balls_of_one_size_reach_the_recall_and_count_the_pairs(script, images, monkeypatch):
    monkeypatch.setattr(script, "RECALLS", [0.5, 1.0])
    x, y, x_test, y_test = images
    far = torch.stack([(x_test[:, None] - x[y == k]).square().sum(2).sqrt().amin(1) for k in range(10)], 1)
    own = far[torch.arange(len(y_test)), y_test]
    others = far[torch.arange(10) != y_test[:, None]]
    expected = [(others <= np.quantile(own, recall) + 1e-6).double().mean().item() for recall in (0.5, 1.0)]
    assert script.one_size(images) == pytest.approx(expected, abs=1e-3) and expected[1] > 0


def test_auroc_counts_pairs_and_ties_half(script):
    random = np.random.default_rng(0)
    strange, usual = random.integers(0, 6, 30).astype(float), random.integers(0, 4, 50).astype(float)
    ahead = strange[:, None] - usual
    assert script.auroc(strange, usual) == pytest.approx(np.mean((ahead > 0) + 0.5 * (ahead == 0)))


def test_errors_at_a_coverage_are_the_mean_over_the_orders_of_equal_scores(script):
    random = np.random.default_rng(1)
    score, wrong = random.integers(0, 3, 20).astype(float), random.random(20) < 0.4
    orders = [random.permutation(20) for _ in range(4000)]
    for n in (3, 11, 20):
        first = [order[np.argsort(score[order], kind="stable")[:n]] for order in orders]
        expected = np.mean([wrong[chosen].mean() for chosen in first])
        assert script.errors_at(score, wrong, np.array([n / 20]))[0] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_nearest_is_that_of_a_plain_loop(script, images, norm):
    x, others = images.x_train[:7], images.x_test.repeat(4, 1)  # more than one chunk
    but = torch.rand(7, len(others), generator=torch.Generator().manual_seed(0)) < 0.5
    far = (x[:, None] - others).abs()
    far = far.amax(2) if norm == "linf" else far.square().sum(2).sqrt()
    expected = torch.stack([row[~no].min() for row, no in zip(far, but, strict=True)])
    assert torch.allclose(script.nearest(x, others, norm, but), expected, atol=1e-4)
    assert torch.allclose(script.nearest(x, others, norm), far.amin(1), atol=1e-4)


def test_the_recording_has_all_that_the_figures_need_and_a_second_call_trains_nothing(
    script, images, monkeypatch, capsys
):
    monkeypatch.setattr(script.data, "mnist", lambda: images)
    monkeypatch.setattr(sys, "argv", ["nap_mnist.py"])
    script.main()
    found = recordings.load(script.RECORDING)
    assert found["linf.test"].shape == (20,) and (found["linf.test"] <= found["linf.test_same"]).all()
    assert found["256x2.auroc"].shape == (2, 1 + 3 * 2, 7) and found["256x2.errors_at"].shape == (2, 7, 50)
    for kind in ("trained", "untrained", "shuffled"):
        assert found[f"256x2.{kind}.total"].shape == (2, 2)
    assert found["256x2.trained.left_out"].shape == found["256x2.untrained.left_out"].shape == (2,)
    assert found["pixels.others"].shape == (2, 10) and len(found["one_size.strangers"]) == len(
        found["recalls"]
    )
    assert (found["256x2.accepted"] <= 1).all() and found["256x2.dead"].shape == (2, 2)
    weights = torch.load(script.RUN / "256x2_1.pt", weights_only=True)
    model = script.network("256x2", 1)
    model.load_state_dict(weights)
    right = (model(images.x_test).argmax(1) == images.y_test).double().mean().item()
    assert found["256x2.accuracy"][1] == pytest.approx(right) and right > 0.2
    monkeypatch.delattr(script, "train")
    script.main()
    again = recordings.load(script.RECORDING)
    assert all(np.array_equal(found[name], again[name], equal_nan=True) for name in found.arrays)
    assert capsys.readouterr().out.count("wrote") == 2

"""experiments/digits_proofs.py: patterns and slices by hand, its recording beside a network trained anew."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from minigrok import data, naps, networks, recordings, verify

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "experiments" / "digits_proofs.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("digits_proofs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recording():
    return recordings.load(ROOT / "lessons" / "recordings" / "digits_proofs.npz")


@pytest.fixture(scope="module")
def net(script):
    return script.fit("plain", 0)


def test_a_thinned_pattern_is_coarser_and_of_the_size_asked_for(script, net):
    own = naps.of(net, data.digits().x_test[0])
    for seed in range(5):
        few = script.thinned(own, [20, 7], script.seeded(seed))
        assert few.coarser_than(own) and script.sizes(few) == [20, 7] and script.sizes(own) == [32, 32]


def test_thinning_draws_every_unit_alike(script, net):
    own, draw = naps.of(net, data.digits().x_test[0]), torch.Generator().manual_seed(0)
    often = sum(script.thinned(own, [8, 16], draw).fixed[0].double() for _ in range(400)) / 400
    assert (often - 8 / 32).abs().max() < 0.1


@pytest.mark.parametrize("k", [2, 10])
def test_a_slice_holds_the_images_as_far_as_its_components_go(script, k):
    x = data.digits().x_train[:200].double()
    front, u = script.slice_of(x, k)
    assert u.shape == (200, k) and u.min() == 0 and u.max() == 1
    back = front(u).detach()
    centred, shown = x - x.mean(0), back - x.mean(0)
    values = torch.linalg.svdvals(centred)
    torch.testing.assert_close((centred - shown).square().sum(), values[k:].square().sum())
    directions = front.weight.detach()
    product = directions.T @ directions
    torch.testing.assert_close(product, product.diagonal().diag(), atol=1e-8, rtol=0)  # a box, not skewed


def test_the_typical_image_is_of_its_class(script):
    images = data.digits()
    found = script.typical(images.x_train, images.y_train)
    assert sorted(found) == list(range(10))
    for label, image in found.items():
        own = images.x_train[images.y_train == label]
        assert (own == image).all(1).any()
        assert (own.mean(0) - image).norm() <= (own.mean(0) - own).norm(dim=1).min() + 1e-6


def test_all_claims_are_asked_and_counted(script):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 10)).requires_grad_(False)
    model[2].weight.zero_()
    model[2].bias.copy_(torch.arange(10.0))  # the outputs are 0 to 9 everywhere
    free = naps.NAP((torch.zeros(3, dtype=torch.bool),), (torch.zeros(3, dtype=torch.bool),))
    starts = dict.fromkeys(range(10), torch.full((1, 64), 0.5))
    found = script.ask_all(model, dict.fromkeys(range(10), free), starts)
    assert found["counts"].tolist() == [45, 45, 0, 0]  # the larger of two classes wins


def test_the_counts_of_the_recording_are_of_ninety_claims(recording, script):
    counts = {name: array for name, array in recording.arrays.items() if name.endswith("counts")}
    assert len(counts) >= 14
    for name, array in counts.items():
        assert (array.sum(-1) == 90).all(), name
        assert (array[..., 3] == 0).all(), name  # images of the class follow: no region is empty
    for name in ("mined", "none"):
        assert (recording[f"slices/0.9/{name}"].sum(-1) == 90).all()
    assert recording["deltas"].tolist() == script.DELTAS and recording["late"].tolist() == script.LATE


def test_the_balls_of_the_recording_are_brackets(recording, script):
    eps, refuted, recall = (recording[f"balls/plain/{what}"] for what in ("eps", "refuted", "recall"))
    asked = np.isfinite(eps)
    assert asked.shape == (3, len(script.PATTERNS), script.IMAGES)
    assert (eps[asked] <= refuted[asked]).all() and (recall[asked] > 0).all() and recall[asked].max() == 1
    row = {name: k for k, name in enumerate(script.PATTERNS)}
    assert asked[:, [row["none"], row["0.9"], row["random"], row["own"]]].all()
    for finer in script.PATTERNS[1:]:
        both = asked[:, row[finer]]
        alone, refuted_there = eps[:, row["none"]][both], refuted[:, row[finer]][both]
        assert (alone <= refuted_there + 1e-6).all()  # what is proved without a pattern is proved with it


def test_a_walk_begins_at_images_that_follow(script, net):
    images = data.digits()
    x, y = images.x_train, images.y_train
    mined = naps.mine(net, x, y, delta=0.9)
    for label, some in script.begin(net, mined, x, y).items():
        assert len(some) == 5 and mined[label].follows(net, some).all()
        assert (some[:, None] == x[y == label][None]).all(2).any(1).all()
    states = naps.of(net, x[y == 0][0])
    nobody = naps.NAP(states.inactive, states.active)  # every unit the other way round
    assert not nobody.follows(net, x[y == 0]).any()
    assert len(script.begin(net, {0: nobody}, x, y)[0]) == 5  # where nobody follows, any images of the class


def test_claims_asked_again_had_time_for_it(recording, script):
    status, seconds = recording["patience/status"], recording["patience/seconds"]
    assert status.shape == seconds.shape == (script.OPEN,) and (seconds < 2 * script.PATIENCE).all()
    slow = seconds > script.PATIENCE
    assert all(script.STATUSES[k] == "unknown" for k in status[slow])
    assert all(script.STATUSES[k] != "empty" for k in status)


def test_a_network_trained_anew_gives_what_was_recorded(recording, script, net):
    images = data.digits()
    x, y = images.x_test, images.y_test
    mined = naps.mine(net, images.x_train, images.y_train, delta=0.9)
    follow = naps.followers(mined, net, x)[torch.arange(len(y)), y] & (net(x).argmax(1) == y)
    assert abs(float(follow.double().mean()) - recording["balls/plain/share"][0]) < 0.02
    counts = script.ask_all(net, {c: mined[c] for c in (3, 8)}, {c: x[y == c][:3] for c in (3, 8)})["counts"]
    assert counts[0] == 0 and counts.sum() == 2  # as in the recording: none of the claims is proved
    first = int(follow.nonzero()[0])
    eps = recording["balls/plain/eps"][0, 0, 0]
    options = {"center": x[first], "timeout": 20.0}
    found = verify.certify(networks.trace(net), int(y[first]), eps=0.9 * eps, **options)
    assert found.status == "verified"

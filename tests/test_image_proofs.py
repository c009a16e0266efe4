"""experiments/image_proofs.py on small networks: what it proves, what refutes it, what it leaves behind."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrok import attacks, data, models, naps, recordings

SCRIPT = Path(__file__).parents[1] / "experiments" / "image_proofs.py"


@pytest.fixture(scope="module")
def loaded():
    spec = importlib.util.spec_from_file_location("image_proofs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["image_proofs"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["image_proofs"]


@pytest.fixture
def script(loaded, tmp_path, monkeypatch):
    """The script with folders of its own, and one small network of scikit-learn's digits."""
    for name in ("RUNS", "RUN", "RECORDINGS"):
        monkeypatch.setattr(loaded, name, tmp_path / name)
    tiny = loaded.Setting(data="digits", epochs=12, images=3, climbs=1, timeout=5.0)
    monkeypatch.setattr(loaded, "SETTINGS", {"tiny": tiny})
    monkeypatch.setattr(loaded, "network", small)
    return loaded


def small(setting):
    return models.mlp([64, 12, 12, 10], generator=torch.Generator().manual_seed(setting.seed))


@pytest.fixture(scope="module")
def subject(loaded, tmp_path_factory):
    """A trained small network, its data and NAPs, as the script has them."""
    folder = tmp_path_factory.mktemp("subject")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "RUNS", folder)
        patch.setattr(loaded, "RUN", folder)
        patch.setattr(loaded, "network", small)
        patch.setattr(loaded, "SETTINGS", {"tiny": loaded.Setting(data="digits", epochs=12, images=6)})
        return loaded.Subject("tiny")


def test_the_settings_are_those_of_the_text(loaded):
    assert loaded.level(-1) == 0 and loaded.level(0) == 0.001
    assert loaded.level(loaded.TOP) == pytest.approx(0.31, abs=0.01)
    assert loaded.KINDS[0] == "plain" and loaded.KINDS[-1] == "own"
    assert set(loaded.CLIMBED) <= set(loaded.KINDS)
    assert sum(setting.images for setting in loaded.SETTINGS.values() if setting.data == "mnist") >= 200
    net = loaded.network(loaded.SETTINGS["cifar"])
    hidden, _ = loaded.forward(net, torch.rand(2, 3, 32, 32))
    assert sum(h.shape[1] for h in hidden) == 832
    same = loaded.network(loaded.SETTINGS["cifar"])
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), same.parameters(), strict=True))


def test_forward_sees_the_units_as_naps_do(loaded):
    net = loaded.network(loaded.SETTINGS["cifar"]).requires_grad_(False)
    x = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    hidden, z = loaded.forward(net, x)
    assert torch.equal(z, net(x))
    for h, active in zip(hidden, naps.states(net, x), strict=True):
        assert torch.equal(h > 0, active)


@given(threshold=st.integers(-1, 60), low=st.integers(-1, 60))
def test_highest_finds_the_last_level_that_is_proved(loaded, threshold, low):
    if low > threshold:
        low = threshold
    asked = []

    def proved(k):
        asked.append(k)
        return k <= threshold

    assert loaded.highest(proved, low, 50) == min(threshold, 50) or low > 50
    assert len(asked) == len(set(asked)), "no level is asked twice"


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_a_thinned_pattern_has_the_sizes_asked_for_and_is_followed_by_its_input(loaded, seed):
    generator = torch.Generator().manual_seed(seed)
    net = models.mlp([6, 9, 7, 3], generator=generator).requires_grad_(False)
    x = torch.randn(6, generator=generator)
    own = naps.of(net, x)
    other = loaded.thinned(naps.of(net, -x), naps.of(net, -x).only(1).without(1, 3), generator)
    size_of = other if seed % 2 else naps.of(net, -x).without(0, 2)
    thin = loaded.thinned(own, size_of, generator)
    assert [sum(counts) for counts in thin.counts] == [sum(counts) for counts in size_of.counts]
    assert thin.coarser_than(own) and bool(thin.follows(net, x[None]))


def test_kinds_said_to_be_coarser_are(loaded, subject):
    image = next(i for i in subject.images() if "nap 0.95" in subject.patterns(i))
    patterns = subject.patterns(image)
    assert patterns["plain"] is None and all(nap.follows(subject.model, subject.x[image][None])
                                             for nap in patterns.values() if nap)  # fmt: skip
    kinds = list(patterns)
    for kind in kinds[1:]:
        found = loaded.coarser(kind, kinds)
        assert "plain" in found and kind not in found
        assert all(patterns[other].coarser_than(patterns[kind]) for other in found if other != "plain")
    assert len(loaded.coarser("own", kinds)) == len(kinds) - 1 and not loaded.coarser("plain", kinds)


def test_every_counterexample_is_one(loaded, subject):
    for image in subject.images()[:2]:
        x, y, patterns = subject.x[image], int(subject.y[image]), subject.patterns(image)
        found = loaded.attack(subject.model, x, y, patterns, torch.Generator().manual_seed(0))
        assert "plain" in found, "on such a network some ball of 0.31 has a counterexample"
        for kind, point in found.items():
            assert 0 <= point.min() and point.max() <= 1
            assert int(subject.model(point[None]).argmax()) != y
            if patterns[kind] is not None:
                assert bool(patterns[kind].follows(subject.model, point[None]))
        far = loaded.distances(x, found, list(patterns))
        pgd = attacks.adversarial_distance(
            subject.model, x[None], torch.tensor([y]), max_eps=0.31, steps=40, generator=torch.Generator()
        )
        assert far["plain"] <= 1.15 * float(pgd), "as strong as the library's own attack, or nearly"
        for kind in patterns:
            assert all(far[other] <= far[kind] for other in loaded.coarser(kind, list(patterns)))


def test_what_is_proved_is_smaller_than_what_is_refuted(loaded, subject):
    for image in subject.images()[:2]:
        row = subject.first_look(image)
        x, y, patterns = subject.x[image], subject.y[image], subject.patterns(image)
        assert row["bounds"].keys() == patterns.keys() and row["bounds"]["plain"] >= 0
        for kind, k in row["bounds"].items():
            assert loaded.level(k) < row["refuted"][kind]
            assert all(k >= row["bounds"][other] for other in loaded.coarser(kind, list(patterns)))
            assert 0 <= row["settled"][kind] <= row["undecided"]
        assert row["settled"]["own"] == row["undecided"] and row["settled"]["plain"] == 0
        eps = loaded.level(row["bounds"]["plain"])
        options = {"steps": 50, "restarts": 5, "generator": torch.Generator().manual_seed(0)}
        assert not attacks.pgd(subject.model, x[None], y[None], eps, **options).success.any()
        second = subject.second_look(row)["climb"]
        assert set(second) == set(loaded.CLIMBED) & set(patterns)
        for kind, found in second.items():
            assert found["level"] >= row["bounds"][kind] and found["refuted"] <= row["refuted"][kind]
            assert loaded.level(found["level"]) < found["refuted"]
            assert found["stage"] in loaded.STAGES and found["stop"] in loaded.STOPS
        eps = loaded.level(second["plain"]["level"])
        assert not attacks.pgd(subject.model, x[None], y[None], eps, **options).success.any()


def test_a_pattern_that_the_ball_implies_is_the_same_question(loaded, subject, monkeypatch):
    image = subject.images()[0]
    ask, own = subject.prover(image), subject.patterns(image)["own"]
    least, most = ask.reach(0)
    implied = own.keep(((least >= 0) | (most <= 0)).split([12, 12]))
    assert 0 < implied.size and not ask.cuts(implied, 0).any() and not ask.cuts(None, 0).any()
    asked = []
    real = loaded.certify
    monkeypatch.setattr(loaded, "certify", lambda *a, **k: asked.append(k["nap"]) or real(*a, **k))
    assert ask(implied, 0, 5.0) is ask(None, 0, 5.0) and asked == [None]
    wide = next(k for k in range(loaded.TOP) if ask.cuts(implied, k).any())
    assert ask(implied, wide, 5.0) is not ask(None, wide, 5.0) and asked[1:] == [implied, None]


def test_what_a_pattern_covers_is_the_recall_of_its_class(loaded, subject):
    image = next(i for i in subject.images() if "nap 0.95" in subject.patterns(i))
    found = naps.coverage(subject.naps[0.95], subject.model, subject.x, subject.y)
    row = loaded.covers(subject, [image])[0]
    recall = found.recall[found.labels.tolist().index(int(subject.y[image]))]
    assert row[loaded.KINDS.index("nap 0.95")] == pytest.approx(float(recall))


def test_what_is_unknown_does_not_count_as_certified(loaded, subject):
    image = subject.images()[0]
    patterns = {"plain": None}

    def never(nap, k, timeout):
        return SimpleNamespace(status="unknown")

    row = loaded.climb(never, patterns, {"plain": 7}, {"plain": 0.3}, 1.0)["plain"]
    assert (row["level"], row["stage"], row["stop"]) == (7, "bounds", "unknown")
    always = loaded.climb(lambda nap, k, timeout: SimpleNamespace(status="verified", stage="lp"), patterns,
                          {"plain": 7}, {"plain": float("inf")}, 1.0)["plain"]  # fmt: skip
    assert always["stop"] == "top" and loaded.TOP - loaded.STEP < always["level"] <= loaded.TOP
    first = {image: {"image": image, "label": 1, "bounds": {"plain": 7}, "refuted": {"plain": 0.3},
                     "undecided": 3, "settled": {"plain": 0}, "nearest": {}, "inside": {}}}  # fmt: skip
    arrays = loaded.table(first, {image: {"climb": {"plain": row}}})
    assert arrays["certified"][0, 0] == arrays["bounds"][0, 0] == loaded.level(7)
    assert loaded.STOPS[arrays["stopped"][0, 0]] == "unknown" and arrays["tried"][0].tolist()[:2] == [
        True,
        False,
    ]
    assert np.isnan(arrays["certified"][0, 1:]).all() and not arrays["follows"].any()


def test_activations_that_cost_something_are_fewer(loaded, monkeypatch):
    images = data.digits(500)
    totals = []
    for price in (0.0, 0.05):
        net = small(loaded.Setting())
        loaded.train(net, loaded.Setting(sparsity=price, epochs=5), images.x_train, images.y_train)
        totals.append(sum(h.relu().sum(1).mean() for h in loaded.forward(net, images.x_test)[0]))
    assert totals[1] < 0.8 * totals[0]


def test_a_run_that_was_stopped_goes_on_and_is_recorded(script):
    script.main(["--images", "2"])
    path = script.RUN / "tiny.first.jsonl"
    before = path.read_text()
    weights = (script.RUN / "tiny.pt").read_bytes()
    assert len(before.splitlines()) == 2
    path.write_text(before + '{"image": 5, "bou')  # stopped in the middle of a line
    script.main(["--images", "3"])
    after = path.read_text()
    assert after.startswith(before) and len(after.splitlines()) == 3
    assert all(json.loads(line)["image"] >= 0 for line in after.splitlines())
    assert (script.RUN / "tiny.pt").read_bytes() == weights
    recording = recordings.load(script.RECORDINGS / "proofs_digits.npz")
    n, kinds = 3, len(script.KINDS)
    for name in (
        "bounds",
        "certified",
        "refuted",
        "tried",
        "stage",
        "stopped",
        "settled",
        "nearest",
        "inside",
    ):
        assert recording[f"tiny.{name}"].shape == (n, kinds), name
    certified, refuted = recording["tiny.certified"], recording["tiny.refuted"]
    asked = ~np.isnan(certified)
    assert (certified[asked] < refuted[asked]).all() and asked[:, [0, -1]].all()
    follows = recording["tiny.follows"]
    assert np.array_equal(asked[:, 1:5], follows) and np.array_equal(asked[:, 5:9], follows)
    covers = recording["tiny.covers"]
    assert (covers[:, 0] == 1).all() and (covers[asked] >= covers[:, [-1]].repeat(kinds, 1)[asked]).all()
    assert recording["tiny.fixed"].shape == (4, 10, 2) and (np.diff(recording["tiny.recall"]) <= 0).all()
    script.main(["--images", "3", "--record"])
    assert path.read_text() == after

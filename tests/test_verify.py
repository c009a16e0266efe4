"""Certificates against oracles of their own: exact partitions, all patterns, attacks, and another solver."""

import _thread
import collections
import importlib.util
import math
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from verify_oracle import Gates, by_partition, by_patterns, rectangle

from minigrok import attacks, data, naps
from minigrok.models import mlp
from minigrok.naps import NAP
from minigrok.networks import trace
from minigrok.regions import Plane, partition
from minigrok.training import State, classification_step, minibatches, train
from minigrok.verify import _cascade, _marabou, certify, certify_disjoint, largest_eps, unit_bounds
from minigrok.verify._affine import read

TOL = 1e-6

# --- tiny questions, whose answers an oracle knows ----------------------------------------------------------


class Residual(nn.Module):
    """Two inputs, two layers of units, and two skips: over a layer, and from the input to the output."""

    def __init__(self, width=3, n_out=3):
        super().__init__()
        self.first, self.second = nn.Linear(2, width), nn.Linear(width, width)
        self.out, self.skip = nn.Linear(width, n_out), nn.Linear(2, n_out)
        self.relu_1, self.relu_2 = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        h = self.relu_1(self.first(x))
        h = self.relu_2(h + self.second(h))
        return self.out(h) + self.skip(x)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 2, (1, 2), padding=(0, 1)), nn.ReLU(), nn.Conv2d(2, 1, (1, 2)), nn.ReLU(),
        nn.Flatten(), nn.Linear(2, 3),
    )  # fmt: skip


def redrawn(model, generator, scale=1.5):
    """The model with new weights: normal, larger than usual, so that regions and classes are many."""
    with torch.no_grad():
        for p in model.parameters():
            fan = p[0].numel() if p.dim() > 1 else 1 / 0.3
            p.copy_(torch.randn(p.shape, generator=generator) * scale / math.sqrt(fan))
    return model


def pattern_near(model, x, generator, kept, flipped=0):
    """The units' states at x (*shape), a share `kept` of them, some of them flipped."""
    full = naps.of(model, x)
    sizes = full.units
    keep = (torch.rand(sum(sizes), generator=generator) < kept).split(sizes)
    flip = torch.zeros(sum(sizes), dtype=torch.bool)
    flip[torch.randperm(sum(sizes), generator=generator)[:flipped]] = True
    states = [a ^ f for a, f in zip(full.active, flip.split(sizes), strict=True)]
    return NAP(
        tuple(s & k for s, k in zip(states, keep, strict=True)),
        tuple(~s & k for s, k in zip(states, keep, strict=True)),
    )


def question(seed, wide=False):
    """A network and the keywords of a question about it: box or ball, pattern or none, all rivals or one."""
    draw = torch.Generator().manual_seed(seed)
    shape = (2,)
    match seed % 6:
        case 0:
            model = redrawn(Residual(), draw)
        case 1:
            model, shape = redrawn(convolutional(), draw), (1, 1, 2)
        case k:
            narrow = [[2, 4, 2], [2, 4, 3, 3], [2, 5, 4, 3], [2, 3, 3, 3, 4]]
            widths = ([[2, 12, 3], [2, 8, 8, 2], [2, 10, 6, 3], [2, 6, 6, 6, 4]] if wide else narrow)[k - 2]
            model = redrawn(mlp(widths), draw)
    dice = torch.rand(5, generator=draw).tolist()
    low, high = (0.0, 1.0) if dice[0] < 0.5 else (-1.0, 1.0)
    x = (low + (high - low) * torch.rand(2, generator=draw)).reshape(shape)
    options = {"bounds": (low, high)}
    if dice[1] < 0.6:
        options |= {"center": x, "eps": [0.1, 0.25, 0.5][int(5 * dice[1])]}
    if dice[2] < 0.7:
        elsewhere = (low + (high - low) * torch.rand(2, generator=draw)).reshape(shape)
        where = x if dice[2] < 0.3 else elsewhere
        options["nap"] = pattern_near(
            model, where, draw, [0.3, 0.6, 1][seed // 6 % 3], flipped=[0, 0, 1][seed % 7 % 3]
        )
    outputs = model(x[None])[0]
    label = int(outputs.argmax()) if dice[3] < 0.5 else int(5 * dice[3]) % len(outputs)
    if dice[4] < 0.3:
        options["rivals"] = [(label + 1) % len(outputs)]
    return model, label, options, shape


def as_asked(model, shape, options):
    """The model, or where nothing else tells its input's shape, the network that was traced with it."""
    return model if shape == (2,) or "center" in options else trace(model, shape)


def activity(model, x):
    """The states of all units at one input x, by hooks: pre-activation > 0, in the model's own precision."""
    seen, hooks = [], []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            hooks.append(
                module.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0].flatten()))
            )
    with torch.no_grad():
        outputs = model(x[None])[0]
    for hook in hooks:
        hook.remove()
    return [z > 0 for z in seen], outputs


def assert_counterexample(
    found, model, label, *, nap=None, bounds=(0.0, 1.0), center=None, eps=None, rivals=None
):
    x = found.counterexample
    dtype = next(model.parameters()).dtype
    assert isinstance(x, Tensor) and x.dtype == dtype
    exact = x.double()
    assert (exact >= bounds[0]).all() and (exact <= bounds[1]).all()
    if center is not None:
        assert x.shape == center.shape
        # The ball's own corners are rounded once, in float64.
        assert ((exact - center.double()).abs() <= eps * (1 + 1e-12) + 1e-15).all()
    states, outputs = activity(model, x)
    if nap is not None:
        assert all(
            s[a].all() and not s[i].any() for s, a, i in zip(states, nap.active, nap.inactive, strict=True)
        )
        assert nap.follows(model, x[None]).all()
    assert found.rival != label and (rivals is None or found.rival in rivals)
    assert outputs[found.rival] > outputs[label]
    assert found.margin == pytest.approx(float(outputs[found.rival] - outputs[label]), rel=1e-4, abs=1e-6)
    return x


def assert_right(found, truth, model, label, options):
    """Nothing wrong is ever said, and what is clear is decided. Returns whether it was clear."""
    if found.status == "falsified":
        assert_counterexample(found, model, label, **options)
        assert found.margin <= truth.margins[found.rival] + 1e-4 * max(1, found.margin)  # float32
    else:
        assert found.counterexample is None
    if found.status == "verified":
        assert truth.margin < 1e-5 and not truth.empty
        assert truth.margin - 1e-6 <= found.margin < 0
    if found.status == "empty":
        assert truth.area < 1e-8
    clear = truth.empty or truth.solid > 1e-3 or (truth.margin < -1e-5 and truth.area > 1e-6)
    if clear:
        wanted = "empty" if truth.empty else "falsified" if truth.solid > 0 else "verified"
        assert found.status == wanted, (found, truth)
    return clear


def test_the_two_oracles_agree():
    kinds = collections.Counter()
    for seed in range(12):
        model, label, options, shape = question(seed)
        by_corner = by_partition(model, label, shape=shape, **options)
        one_by_one = by_patterns(model, label, shape=shape, **options)
        assert one_by_one.keys() == by_corner.margins.keys()
        for rival, margin in one_by_one.items():
            assert margin == pytest.approx(by_corner.margins[rival], abs=1e-6)
        kinds[by_corner.empty, by_corner.margin > 0] += 1
    assert all(kinds[kind] >= 2 for kind in [(True, False), (False, True), (False, False)]), kinds


def test_the_oracles_counts_of_units_are_those_of_trace():
    model, _, _, shape = question(1)
    assert Gates(model, shape).sizes == list(trace(model, shape).units)


@pytest.mark.parametrize("part", range(4))
def test_certify_agrees_with_the_exact_partition(part):
    statuses, clear = collections.Counter(), 0
    for seed in range(60 * part, 60 * part + 60):
        model, label, options, shape = question(seed, wide=part > 1)
        truth = by_partition(model, label, shape=shape, **options)
        found = certify(as_asked(model, shape, options), label, **options)
        clear += assert_right(found, truth, model, label, options)
        statuses[found.status] += 1
    assert clear >= 57
    assert all(statuses[s] >= 5 for s in ("verified", "falsified", "empty")), statuses


@pytest.mark.parametrize("side", [-1, 1])
def test_a_hair_below_the_label_is_verified_and_a_hair_above_is_falsified(side):
    """The label's output is moved until the best rival misses it, or beats it, by 0.01: bounds do not do."""
    stages = collections.Counter()
    for seed in range(side + 1, 100, 2):
        model, label, options, shape = question(seed, wide=True)
        truth = by_partition(model, label, shape=shape, **options)
        if truth.empty or truth.area < 1e-4:
            continue
        last = model.out if isinstance(model, Residual) else model[-1]
        gap = 0.01 * max(
            1, abs(truth.solid - truth.margin) / 0.005
        )  # so far that a float32 input can show it
        with torch.no_grad():
            last.bias[label] += truth.margin - side * gap
        truth = by_partition(model, label, shape=shape, **options)
        assert truth.margin == pytest.approx(side * gap, abs=1e-4)
        found = certify(as_asked(model, shape, options), label, **options)
        assert assert_right(found, truth, model, label, options)
        stages[found.stage] += 1
    assert sum(stages.values()) >= 30
    assert side > 0 or stages["lp"] + stages["milp"] >= 10


def test_every_region_agrees_where_all_units_are_fixed():
    """A full pattern is one room: the closed room's corners say all."""
    for seed in range(25):
        model, label, options, shape = question(6 * seed + 3)
        draw = torch.Generator().manual_seed(seed)
        x = options["bounds"][0] + torch.rand(shape, generator=draw) * (
            options["bounds"][1] - options["bounds"][0]
        )
        options = {"bounds": options["bounds"], "nap": naps.of(model, x)}
        truth = by_partition(model, label, shape=shape, **options)
        assert_right(certify(model, label, **options), truth, model, label, options)


small = st.integers(-2, 2)


@settings(max_examples=60)
@given(
    weights=st.lists(small, min_size=6 + 3 + 9 + 3 + 6 + 2, max_size=29),
    wanted=st.lists(st.integers(-1, 1), min_size=6, max_size=6),
    eps=st.sampled_from([None, 0.25, 0.5]),
)
def test_nothing_wrong_is_said_where_units_tie_or_never_move(weights, wanted, eps):
    """Weights on a grid: dead and doubled units, corners on walls, ties of outputs, rooms without area."""
    model, weights = mlp([2, 3, 3, 2]), torch.tensor(weights, dtype=torch.float32)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(weights[: p.numel()].reshape(p.shape))
            weights = weights[p.numel() :]
    wanted = torch.tensor(wanted).split(3)
    options = {"nap": NAP(tuple(w > 0 for w in wanted), tuple(w < 0 for w in wanted)), "bounds": (-1.0, 1.0)}
    if eps is not None:
        options |= {"center": torch.tensor([0.5, -0.25]), "eps": eps}
    truth = by_partition(model, 0, **options)
    found = certify(model, 0, **options)
    if found.status == "falsified":
        assert_counterexample(found, model, 0, **options)
    if found.status == "verified":  # at a corner on a wall the strict region may end
        assert truth.solid < 1e-5 and truth.area >= 0
    if found.status == "empty":
        assert truth.area < 1e-8
    if truth.solid > 1e-3:
        assert found.status == "falsified"
    if truth.area > 1e-3 and truth.margin < -1e-3:
        assert found.status == "verified"


@pytest.mark.parametrize("seed", [998])
def test_questions_that_once_were_left_open(seed):
    """998: the linear program's input lay on a wall, and the walk from there lost it."""
    model, label, options, shape = question(seed)
    truth = by_partition(model, label, shape=shape, **options)
    assert assert_right(certify(model, label, **options), truth, model, label, options)


def test_verified_says_how_far_the_rivals_stay_below():
    model, label = redrawn(mlp([2, 5, 4, 3]), torch.Generator().manual_seed(0)), 0
    with torch.no_grad():
        model[-1].bias += torch.tensor([50.0, 0, 0])
    truth = by_partition(model, label)
    found = certify(model, label)
    assert found.status == "verified" and truth.margin - 1e-6 <= found.margin < 0
    assert found.rival is None and found.counterexample is None


def test_one_rival_at_a_time_is_the_same_as_all_of_them():
    for seed in range(20):
        model, label, options, shape = question(seed)
        options.pop("rivals", None)
        whole = certify(model, label, **options)
        parts = [
            certify(model, label, rivals=[k], **options).status
            for k in range(trace(model, shape).n_out)
            if k != label
        ]
        if whole.status in ("verified", "empty"):
            assert set(parts) == {whole.status}
        if whole.status == "falsified":
            assert "falsified" in parts


def test_a_traced_network_gives_the_same_answers_and_the_model_is_not_changed():
    for seed in range(6):
        model, label, options, shape = question(seed)
        before = [p.clone() for p in model.parameters()]
        a, b = certify(model, label, **options), certify(trace(model, shape), label, **options)
        assert (a.status, a.rival) == (b.status, b.rival)
        assert all(
            torch.equal(p, q) and p.requires_grad for p, q in zip(model.parameters(), before, strict=True)
        )


def test_a_model_in_double_precision_gets_its_counterexample_in_double():
    model, label, options, _ = next(
        q for q in map(question, range(2, 100)) if certify(q[0], q[1], **q[2]).status == "falsified"
    )
    found = certify(model.double(), label, **options)
    assert found.status == "falsified"
    assert_counterexample(found, model, label, **options)


def test_a_start_changes_nothing_but_the_time():
    for seed in range(20):
        model, label, options, shape = question(seed)
        start = torch.rand(4, *shape, generator=torch.Generator().manual_seed(seed)) * 3 - 1
        found = certify(model, label, start=start, **options)  # some of them lie outside the box
        assert found.status == certify(as_asked(model, shape, options), label, **options).status
        if found.status == "falsified":
            assert_counterexample(found, model, label, **options)


# --- digits -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """A net of 2 x 16 units on the digits, its training images and labels."""
    x, y, *_ = data.digits()
    model = mlp([64, 16, 16, 10], generator=torch.Generator().manual_seed(0))
    state = State(model, torch.optim.Adam(model.parameters(), lr=3e-3))
    train(classification_step(), state, steps=600, batches=minibatches(x, y, 64, seed=0))
    return model.eval(), x, y


def digit_questions(model, x, y, n, radii=(0.03, 0.08, 0.15)):
    """n balls around images that are classified correctly; every other one cut with a pattern they follow."""
    patterns = naps.mine(model, x, y, delta=0.9)
    right = (model(x).argmax(1) == y).nonzero().flatten().tolist()
    follow = naps.followers(patterns, model, x)[torch.arange(len(x)), y]
    fitting = [i for i in right if follow[i]]
    for k in range(n):
        i = fitting[k] if k % 2 else right[k]
        nap = patterns[int(y[i])] if k % 2 else None
        yield int(y[i]), {"center": x[i], "eps": radii[k % len(radii)], "nap": nap}


def strong_attack(model, label, *, center, eps, nap=None, restarts=1000, steps=20):
    """Gradient ascent on the best rival from random points of the ball, 1,000 at once: (tries, successes).

    Every point on the way that follows the pattern is a try.
    """
    draw = torch.Generator().manual_seed(0)
    low, high = (center - eps).clamp(0, 1), (center + eps).clamp(0, 1)
    x = low + (high - low) * torch.rand(restarts, *center.shape, generator=draw)
    x[0] = center
    tries = hits = 0
    for _ in range(steps + 1):
        x.requires_grad_(True)
        outputs = model(x)
        others = outputs.clone()
        others[:, label] = -math.inf
        margin = others.max(1).values - outputs[:, label]
        (slope,) = torch.autograd.grad(margin.sum(), x)
        x = x.detach()
        inside = torch.ones(restarts, dtype=torch.bool) if nap is None else nap.follows(model, x)
        tries, hits = tries + int(inside.sum()), hits + int((inside & (margin > 0)).sum())
        x = torch.minimum(torch.maximum(x + 2.5 * eps / steps * slope.sign(), low), high)
    return tries, hits


def test_verified_balls_survive_a_thousand_restarts_and_falsified_ones_do_not(digits):
    model, x, y = digits
    beaten = verified = falsified = 0
    for label, options in digit_questions(model, x, y, 12):
        found = certify(model, label, **options)
        tries, hits = strong_attack(model, label, **options)
        assert tries > 30  # the centre and its way: else the attack would have said nothing
        if found.status == "verified":
            verified += 1
            assert hits == 0
        if found.status == "falsified":
            assert_counterexample(found, model, label, **options)
            falsified, beaten = falsified + 1, beaten + (hits > 0)
    assert verified >= 3 and falsified >= 3
    assert beaten > 0.5 * falsified  # the attack that found nothing above is one that finds


def test_the_library_attack_does_not_find_what_a_certificate_excludes(digits):
    model, x, y = digits
    found = [
        (label, options)
        for label, options in digit_questions(model, x, y, 8, radii=(0.03,))
        if options["nap"] is None and certify(model, label, **options).status == "verified"
    ]
    assert len(found) >= 2
    for label, options in found:
        image, wanted = options["center"][None], torch.tensor([label])
        attack = attacks.apgd(model, image, wanted, options["eps"], steps=30, restarts=5)
        assert not attack.success.any()


def test_whole_box_patterns_of_digits_are_decided_and_their_counterexamples_hold(digits):
    model, x, y = digits
    for delta in (1.0, 0.9):
        for label, nap in naps.mine(model, x, y, delta=delta).items():
            start = x[y == label][:5]
            found = certify(model, label, nap=nap, start=start)
            assert found.status in ("verified", "falsified")
            if found.status == "falsified":
                assert_counterexample(found, model, label, nap=nap)


# --- patterns against each other ----------------------------------------------------------------------------


def area_of(model, shape, a, b=None, **region):
    """How much of a region follows one pattern, or both."""
    if b is not None and naps.clashes(a, b):
        return 0.0
    return by_partition(model, 0, nap=a if b is None else a & b, shape=shape, **region).area


def test_disjoint_patterns_agree_with_the_oracle():
    statuses = collections.Counter()
    for seed in range(60):
        model, label, options, shape = question(seed)
        draw = torch.Generator().manual_seed(1000 + seed)
        low, high = options["bounds"]
        x, other = (low + (high - low) * torch.rand(2, *shape, generator=draw)).unbind()
        a = pattern_near(model, x, draw, 0.6)
        b = pattern_near(model, other if seed % 3 else x, draw, 0.6)
        region = {k: options[k] for k in ("bounds", "center", "eps") if k in options}
        found = certify_disjoint(
            trace(model, shape) if seed % 2 else as_asked(model, shape, region), a, b, **region
        )
        statuses[found.status] += 1
        area = area_of(model, shape, a, b, **region)
        alone = area or min(area_of(model, shape, nap, **region) for nap in (a, b))
        if found.status == "falsified":
            point = found.counterexample[None]
            assert a.follows(model, point).all() and b.follows(model, point).all()
            assert (point >= low).all() and (point <= high).all()
            if "center" in region:
                gap = (point[0].double() - region["center"].double()).abs().max()
                assert gap <= region["eps"] * (1 + 1e-12)
        else:
            assert area < 1e-8
        if found.status == "empty":  # then one of the two says nothing, and which is said
            assert alone < 1e-8 and "nap_" in found.note
        if area > 1e-6 or (area == 0 and (alone == 0 or alone > 1e-6)):
            wanted = "falsified" if area else "verified" if alone else "empty"
            assert found.status == wanted, (seed, found, area)
    assert all(statuses[s] >= 5 for s in ("verified", "falsified", "empty")), statuses


@pytest.mark.parametrize(
    ("start", "walks", "stage"), [([[0.9, 0.1]], True, "start"), ([], True, "walk"), ([], False, "milp")]
)
def test_an_input_of_two_patterns_is_said_to_come_from_where_it_was_found(monkeypatch, start, walks, stage):
    if not walks:
        monkeypatch.setattr(_cascade.Rooms, "enter", lambda *_, **__: None)
    start = torch.tensor(start).reshape(-1, 2)
    found = certify_disjoint(crossed(), pattern([1, 0]), pattern([0, -1]), start=start)
    assert (found.status, found.stage) == ("falsified", stage)
    assert found.counterexample[0] > 0.5


# --- the largest radius -------------------------------------------------------------------------------------


def test_the_largest_eps_is_bracketed_by_a_proof_and_a_counterexample(digits):
    model, x, y = digits
    right = (model(x).argmax(1) == y).nonzero().flatten()
    for i in right[:4].tolist():
        label = int(y[i])
        found = largest_eps(model, label, x[i], high=0.3, precision=2e-3)
        assert 0 < found.eps < found.refuted <= 0.3
        assert found.refuted - found.eps <= 2e-3 and not found.unknown
        assert certify(model, label, center=x[i], eps=found.eps).status == "verified"
        again = certify(model, label, center=x[i], eps=found.refuted)
        assert again.status == "falsified"


def test_the_largest_eps_agrees_with_the_exact_partition():
    for seed in (2, 3, 4, 8, 9, 10):
        model, _, options, shape = question(seed)
        x = torch.full(shape, 0.5)
        label = int(model(x[None])[0].argmax())
        found = largest_eps(model, label, x, high=0.5, precision=1e-3)
        if found.eps > 0:
            assert by_partition(model, label, center=x, eps=found.eps).margin < 1e-5
        if found.refuted is not None and math.isfinite(found.refuted):
            assert by_partition(model, label, center=x, eps=found.refuted).margin > -1e-5
            assert found.refuted - found.eps <= 1e-3
        else:
            assert found.eps == 0.5


def test_there_is_no_ball_around_a_centre_that_is_wrong_or_off_its_pattern():
    model, x = crossed(), torch.tensor([0.7, 0.5])
    wrong = largest_eps(model, 0, x)
    assert (wrong.eps, wrong.refuted, wrong.unknown) == (0, 0, False)
    assert torch.equal(wrong.counterexample, x)
    off = largest_eps(model, 1, x, nap=pattern([-1, 0]))
    assert off.eps == 0 and off.counterexample is None and math.isinf(off.refuted)


def test_the_counterexample_of_the_largest_eps_has_been_run_through_the_model_itself():
    model, x, seen = crossed(), torch.tensor([0.1, 0.5]), []
    with torch.no_grad():
        model[2].weight[0, 0] = 4.0  # class 0 wins from x = 0.75 on
    model.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    found = largest_eps(model, 1, x, high=0.9, rivals=0)
    assert found.eps == pytest.approx(0.65, abs=2e-3) and found.refuted == pytest.approx(0.65, abs=2e-3)
    assert any(torch.equal(one[0], found.counterexample) for one in seen if len(one) == 1)


def test_a_ball_that_reaches_the_largest_radius_has_no_refutation():
    found = largest_eps(crossed(), 1, torch.tensor([0.7, 0.5]), high=0.25)
    assert (found.eps, found.refuted, found.unknown) == (0.25, math.inf, False)


def test_the_bisection_ends_where_numbers_are_not_dense_enough():
    model, x = crossed(), torch.tensor([0.1, 0.5])
    with torch.no_grad():
        model[2].weight[0, 0] = 4.0  # class 0 wins from x = 0.75 on
    found = largest_eps(model, 1, x, high=0.9, precision=1e-300)
    assert found.eps <= found.refuted and found.eps == pytest.approx(0.65, abs=1e-3)


def test_a_center_may_come_from_a_gradient():
    model, x = crossed(), torch.tensor([0.7, 0.5], requires_grad=True)
    assert certify(model, 1, center=x, eps=0.2).status == "verified"
    assert certify(model, 1, start=x[None]).status == certify(model, 1).status
    assert largest_eps(model, 1, x, high=0.25).eps == 0.25


def hat(size, lead=0.2):
    """Output 1 is |x - 1/2| and output 0 is `lead`, by units of `size` whose answers are blown up again."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        (
            model[0].weight.copy_(size * torch.tensor([[1.0], [-1.0]])),
            model[0].bias.copy_(size * torch.tensor([-0.5, 0.5])),
        )
        model[2].weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]) / size)
        model[2].bias.copy_(torch.tensor([lead, 0.0]))
    return model


@pytest.mark.parametrize("size", [1e-14, 1e-9, 1e-4, 1.0, 1e6, 1e17])
def test_the_programs_alone_are_right_whatever_the_size_of_the_units(size, monkeypatch):
    for stage in ("_bound", "_walk", "_relax", "_tighten"):
        monkeypatch.setattr(_cascade._Cascade, stage, lambda cascade: None)
    assert certify(hat(size), 0).status == "falsified"
    proved = certify(hat(size, lead=0.75), 0)
    assert (proved.status, proved.stage) == ("verified", "milp")
    ((least, most),) = unit_bounds(hat(size))
    assert (most / size).tolist() == pytest.approx([0.5, 0.5]) and (least == -most).all()


def test_outputs_too_large_for_a_program_are_refused_in_words():
    model = hat(1.0)
    with torch.no_grad():
        for weight in model[2].parameters():
            weight *= 1e18
    with pytest.raises(ValueError, match="Divide the last layer's weights and biases by a number"):
        certify(model, 0)


# --- what the units can reach -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 6, 7, 9, 10])
def test_no_unit_leaves_its_bounds_and_the_first_layer_reaches_them(seed):
    model, _, options, shape = question(seed)
    region = {k: v for k, v in options.items() if k in ("center", "eps", "bounds")}
    network = trace(model, shape).to(torch.float64)
    corners = torch.from_numpy(corners_of_regions(model, shape, **region)).reshape(-1, *shape)
    found = unit_bounds(as_asked(model, shape, region), **region)
    for layer, (z, (least, most)) in enumerate(zip(network.pre_activations(corners), found, strict=True)):
        assert least.dtype == torch.float64 and least.shape == most.shape == (network.units[layer],)
        assert (z.amin(0) >= least - 1e-9).all() and (z.amax(0) <= most + 1e-9).all()
        if layer == 0:
            assert torch.allclose(z.amin(0), least) and torch.allclose(z.amax(0), most)


def corners_of_regions(model, shape, *, bounds, center=None, eps=None):
    """Of a network on a box or ball: there the inputs of its units are largest and smallest."""
    low, high = rectangle(bounds, center, eps)
    plane = None if shape == (2,) else Plane(torch.zeros(shape), *torch.eye(2).double().reshape(2, *shape))
    return partition(model, tuple(zip(low, high, strict=True)), plane=plane).vertices


def test_a_larger_ball_lets_units_reach_further(digits):
    model, x, _ = digits
    bounds = [unit_bounds(model, center=x[0], eps=eps) for eps in (0.0, 0.01, 0.1)]
    z = trace(model).to(torch.float64).pre_activations(x[:1].double())
    for layer in range(2):
        (l0, m0), (l1, m1), (l2, m2) = (of[layer] for of in bounds)
        assert torch.allclose(l0, z[layer][0]) and torch.allclose(m0, z[layer][0])
        assert (l2 < l1).all() and (l1 < l0).all() and (m0 < m1).all() and (m1 < m2).all()


# --- nothing there, nothing said ----------------------------------------------------------------------------


def crossed():
    """Two units of one direction: z0 = x - 0.5, z1 = 0.4 - x, and outputs (0, 1): always class 1."""
    model = mlp([2, 2, 2])
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0], [-1, 0]]))
        model[0].bias.copy_(torch.tensor([-0.5, 0.4]))
        model[2].weight.zero_()
        model[2].bias.copy_(torch.tensor([0.0, 1]))
    return model


def pattern(*wanted):
    """A NAP from -1, 0, 1 for each unit, one list a layer."""
    layers = [torch.tensor(w) for w in wanted]
    return NAP(tuple(w > 0 for w in layers), tuple(w < 0 for w in layers))


def test_a_region_without_inputs_is_empty_and_never_verified():
    model = crossed()
    both_active = pattern([1, 1])
    for label in (0, 1):
        assert certify(model, label, nap=both_active).status == "empty"
    assert certify(model, 1, nap=pattern([-1, -1])).status == "verified"
    assert certify(model, 0, nap=pattern([-1, -1])).status == "falsified"
    # The pattern has inputs, but none in this ball.
    corner = torch.tensor([0.1, 0.5])
    assert certify(model, 1, nap=pattern([1, 0]), center=corner, eps=0.3).status == "empty"
    assert certify(model, 1, nap=pattern([1, 0]), center=corner, eps=0.45).status == "verified"


def test_a_unit_that_only_touches_zero_is_not_active():
    """z = x0 - 1 is at most 0 in the box: nobody follows "active", though z >= 0 has a solution."""
    model = crossed()
    with torch.no_grad():
        model[0].bias[0] = -1.0
    assert certify(model, 0, nap=pattern([1, 0])).status in ("empty", "unknown")
    assert certify(model, 1, nap=pattern([1, 0])).status in ("empty", "unknown")
    assert certify(model, 1, nap=pattern([-1, 0])).status == "verified"


def test_a_tie_everywhere_is_not_verified():
    model = crossed()
    with torch.no_grad():
        model[2].bias.zero_()
    assert certify(model, 0).status in ("unknown", "falsified")
    assert certify(model, 1).status in ("unknown", "falsified")


def test_a_box_between_two_float32_numbers_has_no_input_for_a_float32_model():
    """0.1 lies between two of them: nothing is proved of a model that can be asked nowhere."""
    model, point = crossed(), {"bounds": (0.1, 0.1)}
    found = certify(model, 1, **point)
    assert found.status == "unknown" and "no input of the region was found either" in found.note
    assert certify(crossed().double(), 1, **point).status == "verified"
    there, nowhere = pattern([-1, 1]), pattern([-1, -1])  # at 0.1 the first unit is off and the second on
    found = certify_disjoint(model, there, nowhere, **point)
    assert (
        found.status == "unknown" and "but none was found that follows nap_a either: all inputs" in found.note
    )
    found = certify_disjoint(crossed().double(), there, nowhere, **point)
    assert found.status == "empty" and found.note == "no input follows nap_b alone"


def test_a_certificate_is_said_in_one_line():
    model = crossed()
    lines = [repr(certify(model, 1)), repr(certify(model, 0)), repr(certify(model, 1, nap=pattern([1, 1])))]
    assert re.fullmatch(r"verified by bounds, margin -1, \d\.\d{3} s", lines[0])
    assert re.fullmatch(r"falsified against 1 by \w+, margin 1, \d\.\d{3} s", lines[1])
    assert re.fullmatch(r"empty by \w+, \d\.\d{3} s", lines[2])
    late = repr(certify(model, 0, timeout=0.0))
    assert re.fullmatch(r"unknown by nothing, margin 1, \d\.\d{3} s \(the time was up\)", late)


# --- time ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hard():
    """Wide, random weights, the whole box, a label that mostly wins: not decided within seconds."""
    model = redrawn(mlp([64, 40, 40, 40, 10]), torch.Generator().manual_seed(1), scale=1.4)
    with torch.no_grad():
        model[-1].bias[0] += 40.0
    return model


def test_time_is_kept_and_what_is_open_is_unknown(hard):
    network = trace(hard)
    read(network)
    for timeout in (0.0, 0.01, 0.3):
        begin = time.perf_counter()
        found = certify(network, 0, timeout=timeout)
        took = time.perf_counter() - begin
        assert found.status == "unknown" and found.counterexample is None
        assert took < 4 * timeout + 0.5
        assert found.margin > 0  # what was proved until then; nothing is claimed


def test_ctrl_c_ends_a_mixed_integer_program_and_not_only_its_time(monkeypatch):
    model = redrawn(mlp([30, 32, 32, 5]), torch.Generator().manual_seed(1), scale=1.4)
    with torch.no_grad():
        model[-1].bias[0] += 11.0
    search, begun = _cascade._Cascade._search, []

    def interrupted(cascade):
        begun.append(time.perf_counter())
        threading.Timer(0.5, _thread.interrupt_main).start()
        return search(cascade)

    monkeypatch.setattr(_cascade._Cascade, "_search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        certify(model, 0, timeout=60)
    assert time.perf_counter() - begun[0] < 20


# --- what cannot be right -----------------------------------------------------------------------------------


def refused(text, *arguments, error=ValueError, function=certify, **options):
    with pytest.raises(error, match=text):
        function(*arguments, **options)


def test_a_pattern_of_another_network_is_refused():
    model = crossed()
    refused(r"\(2,\).*\(3,\)|\(3,\).*\(2,\)", model, 0, nap=pattern([1, 0, 0]))
    refused(r"\(2, 2\)", model, 0, nap=pattern([1, 0], [0, 0]))
    refused(r"\(3,\)", model, pattern([1, 0]), pattern([1, 0, 0]), function=certify_disjoint)


def test_networks_that_are_no_relu_networks_are_refused_by_name():
    refused(r"ReLU", mlp([2, 3, 2], activation=nn.LeakyReLU), 0)
    refused(r"GELU|gelu", nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 2)), 0)


def test_labels_and_rivals_that_do_not_exist_are_refused():
    model = crossed()
    for label in (2, -1):
        refused(rf"{label}", model, label)
    refused(r"7", model, 0, rivals=[1, 7])
    refused(r"rival", model, 0, rivals=[0])
    refused(r"rival", model, 0, rivals=[])
    refused(r"'float' object cannot be interpreted as an integer", model, 0.0, error=TypeError)
    assert certify(model, torch.tensor(1)).status == certify(model, 1).status


def test_regions_that_make_no_sense_are_refused():
    model, x = crossed(), torch.tensor([0.5, 0.5])
    refused(r"center", model, 0, eps=0.1)
    refused(r"eps", model, 0, center=x)
    refused(r"-0\.1", model, 0, center=x, eps=-0.1)
    refused(r"nan", model, 0, center=x, eps=math.nan)
    refused(r"bounds", model, 0, center=torch.tensor([1.5, 0.5]), eps=0.1)
    refused(r"NaN", model, 0, center=torch.tensor([math.nan, 0.5]), eps=0.1)
    refused(r"shape|\(3,\)", model, 0, center=torch.zeros(3), eps=0.1)
    refused(r"bounds", model, 0, bounds=(1.0, 0.0))
    refused(r"bounds", model, 0, bounds=(0.0, math.inf))
    refused(r"bounds", model, 0, bounds=(0.0, math.nan))
    refused(r"each of bounds to be one number", model, 0, bounds=(torch.zeros(2), 1), error=TypeError)
    refused(r"eps to be one number", model, 0, center=x, eps=torch.ones(2), error=TypeError)
    refused(r"tensor as center, got list", model, 0, center=[0.5, 0.5], eps=0.1, error=TypeError)
    refused(r"naps\[label\]", model, 0, nap={0: pattern([1, 0])}, error=TypeError)
    refused(r"bfloat16. Convert the model", crossed().bfloat16(), 0)


def test_options_that_make_no_sense_are_refused():
    model = crossed()
    refused(r"timeout.*-1", model, 0, timeout=-1)
    refused(r"timeout.*nan", model, 0, timeout=math.nan)
    refused(r"tol", model, 0, tol=-1e-3)
    solver = "expected solver 'cascade' or 'marabou', got 'marabu'"
    refused(solver, model, 0, solver="marabu")
    refused(solver, model, pattern([1, 0]), pattern([0, 1]), function=certify_disjoint, solver="marabu")
    middle = torch.tensor([0.5, 0.5])
    refused(solver, model, 0, middle, function=largest_eps, solver="marabu")
    for wrong in ({"high": 0.0}, {"precision": -1e-3}):
        refused("expected high and precision above 0", model, 0, middle, function=largest_eps, **wrong)
    refused(r"NaN", nn.Sequential(nn.Linear(2, 2), nn.ReLU()).apply(_spoil), 0)


def _spoil(module):
    if isinstance(module, nn.Linear):
        module.weight.data[0, 0] = math.nan


# --- Marabou ------------------------------------------------------------------------------------------------

HAS_MARABOU = importlib.util.find_spec("maraboupy") is not None
EXPECTED = os.environ.get("CI") == "true" and sys.platform == "linux" and sys.version_info[:2] == (3, 11)
needs_marabou = pytest.mark.skipif(
    not HAS_MARABOU and not EXPECTED, reason="maraboupy, the optional second solver, is not installed here"
)


@needs_marabou
def test_marabou_gives_the_same_answers_on_digits(digits):
    model, x, y = digits
    statuses = collections.Counter()
    for label, options in digit_questions(model, x, y, 18):
        outputs = model(options["center"][None])[0]
        outputs[label] = -math.inf
        options["rivals"] = [int(outputs.argmax())]
        ours = certify(model, label, **options)
        theirs = certify(model, label, solver="marabou", **options)
        assert ours.status == theirs.status and theirs.stage == "marabou"
        statuses[ours.status] += 1
        if theirs.status == "falsified":
            assert_counterexample(theirs, model, label, **options)
    assert statuses["verified"] >= 3 and statuses["falsified"] >= 3


@needs_marabou
def test_marabou_agrees_with_the_exact_partition_on_tiny_networks():
    statuses = collections.Counter()
    for seed in range(24):
        model, label, options, shape = question(seed)
        truth = by_partition(model, label, shape=shape, **options)
        found = certify(model, label, solver="marabou", **options)
        statuses[found.status] += 1
        if found.status == "falsified":
            assert_counterexample(found, model, label, **options)
        assert found.status == ("empty" if truth.empty else "falsified" if truth.margin > 0 else "verified")
    assert len(statuses) == 3


@needs_marabou
def test_a_picture_network_is_decided_alike_by_both():
    """A convolution of 1 x 6 x 6 inputs, beyond every oracle by enumeration."""
    draw = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    )
    statuses = collections.Counter()
    for seed in range(8):
        model = redrawn(net, draw)
        x = torch.rand(1, 6, 6, generator=draw)
        label = int(model(x[None])[0].argmax())
        options = {"center": x, "eps": [0.02, 0.2][seed % 2], "rivals": [(label + 1) % 3]}
        if seed % 4 > 1:
            options["nap"] = pattern_near(model, x, draw, 0.5)
        ours = certify(model, label, **options)
        assert ours.status == certify(model, label, solver="marabou", **options).status
        statuses[ours.status] += 1
        if ours.status == "falsified":
            assert_counterexample(ours, model, label, **options)
    assert len(statuses) == 2


@needs_marabou
def test_marabou_is_stopped_when_time_is_up_and_leaves_no_process(hard):
    begin = time.perf_counter()
    found = certify(hard, 0, rivals=[1], solver="marabou", timeout=1.5)
    assert found.status == "unknown" and time.perf_counter() - begin < 6
    assert not _children()


@needs_marabou
def test_ctrl_c_ends_marabou_too():
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import numpy as np\n"
        "from types import SimpleNamespace as Map\n"
        "from minigrok.verify import _marabou\n"
        "r, w = np.random.default_rng(0), [64, 60, 60, 60, 10]\n"
        "maps = [Map(bias=r.normal(size=b), parts={k - 1: r.normal(size=(b, a)) / a**0.5})\n"
        "        for k, (a, b) in enumerate(zip(w, w[1:]))]\n"
        "c = np.eye(10)[0], -9.0\n"
        "print('asking', flush=True)\n"
        "_marabou.solve(maps, -np.ones(64), np.ones(64), [np.zeros(60)] * 3, c, timeout=60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "asking\n"
        for _ in range(100):
            children = _children(process.pid)
            if children:
                break
            time.sleep(0.1)
        assert len(children) == 1
        time.sleep(1)
        process.send_signal(2)
        _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert not os.path.exists(f"/proc/{children[0]}")


def _children(pid=None):
    """The processes that this one (or `pid`) started and that still run, where /proc tells."""
    pid, found = str(pid or os.getpid()), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == pid and "_marabou.py" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


@needs_marabou
def test_marabou_takes_any_input_of_the_region_where_there_is_no_objective():
    maps = read(crossed())
    free = [np.zeros(2, dtype=np.int8)]
    status, x = _marabou.solve(maps, np.zeros(2), np.ones(2), free, None, timeout=30)
    assert status == "sat" and (x >= 0).all() and (x <= 1).all()
    wanted = [np.array([1, 1], dtype=np.int8)]
    assert _marabou.solve(maps, np.zeros(2), np.ones(2), wanted, None, timeout=30) == ("unsat", None)
    wanted = [np.array([1, -1], dtype=np.int8)]
    status, x = _marabou.solve(maps, np.zeros(2), np.ones(2), wanted, None, timeout=30)
    assert status == "sat" and x[0] >= 0.5 - 1e-6


def test_without_maraboupy_it_is_said_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "maraboupy" else find(name, *a)
    )
    with pytest.raises(ImportError, match=r"pip install maraboupy.*3\.11.*solver='cascade'"):
        certify(crossed(), 0, solver="marabou")

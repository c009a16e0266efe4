"""Attacks: against a textbook loop, on networks whose nearest adversarial example is known, and refused."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minigrok import attacks, data, models, training
from minigrok.attacks import (
    adversarial_distance,
    apgd,
    fgsm,
    pgd,
    robust_accuracy,
    square,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_net(
    n_in: int = 6, classes: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64
) -> nn.Module:
    """Random weights, and logits that are 0 on average over the cube: every class has its share of it."""
    model = models.mlp([n_in, 24, 24, classes], generator=seeded(seed)).to(dtype)
    with torch.no_grad():
        model[-1].bias -= model(torch.rand(500, n_in, generator=seeded(9)).to(dtype)).mean(0)
    return model


def some_points(
    n: int = 40, shape: tuple[int, ...] = (6,), dtype: torch.dtype = torch.float64, seed: int = 1
):
    return torch.rand(n, *shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def right_labels(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).detach().argmax(1)


def small_cnn(batch_norm: bool = False) -> nn.Sequential:
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    norm = [nn.BatchNorm2d(6)] if batch_norm else []
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        *norm,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96, 4),
    )
    torch.set_rng_state(torch_state)
    return model


def learn_digits(loss: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network that has learnt scikit-learn's digits, the images it was tested on, and their labels."""
    split = data.digits(1000)
    model = models.mlp([64, 60, 60, 10], generator=seeded())
    state = training.State(model, torch.optim.AdamW(model.parameters(), lr=3e-3))
    batches = training.minibatches(split.x_train, split.y_train, 100, seed=0)
    training.train(training.classification_step(loss), state, steps=300, batches=batches)
    return model, split.x_test[:300], split.y_test[:300]


@pytest.fixture(scope="module")
def digits():
    return learn_digits("cross_entropy")


@pytest.fixture(scope="module")
def digits_by_squares():
    return learn_digits("squared_error")


# --- the textbook -------------------------------------------------------------------------------------------


def textbook_loss(logits: Tensor, y: Tensor, loss: str) -> Tensor:
    """The losses as they are written down, one number a sample, for autograd to differentiate."""
    right = logits[torch.arange(len(y)), y]
    wrong = logits.masked_fill(F.one_hot(y, logits.shape[1]).bool(), -math.inf)
    if loss == "margin":
        return wrong.amax(1) - right
    if loss == "dlr":
        ordered = logits.sort(dim=1, descending=True).values
        return (wrong.amax(1) - right) / (ordered[:, 0] - ordered[:, 2])
    return F.cross_entropy(logits, y, reduction="none")


def textbook_walk(model, x, y, eps, *, norm, steps, size, loss, bounds=(0.0, 1.0)) -> list[Tensor]:
    """Every point PGD visits from x, one plain line after the other; nobody is dropped."""
    x_adv, visited = x.clone(), [x.clone()]
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(textbook_loss(model(x_adv), y, loss).sum(), x_adv)
        if norm == "linf":
            moved = x_adv.detach() + size * gradient.sign()
            moved = torch.minimum(torch.maximum(moved, x - eps), x + eps)
        else:
            flat = gradient.flatten(1)
            step = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-300)
            away = (x_adv.detach() - x).flatten(1) + size * step
            away = away * (eps / away.norm(dim=1, keepdim=True)).clamp(max=1)
            moved = x + away.view_as(x)
        x_adv = moved.clamp(*bounds)
        visited.append(x_adv)
    return visited


def textbook_robust(model, x, y, eps, **options) -> float:
    wrong = [model(point).argmax(1) != y for point in textbook_walk(model, x, y, eps, **options)]
    return 1 - torch.stack(wrong).any(0).double().mean().item()


@pytest.mark.parametrize("norm, eps", [("linf", 0.08), ("l2", 0.15)])
@pytest.mark.parametrize("loss", ["margin", "cross_entropy", "dlr", "plain_cross_entropy"])
def test_pgd_walks_as_the_textbook_does(norm, eps, loss):
    model, x = small_net(), some_points()
    y = right_labels(model, x)
    options = {"norm": norm, "steps": 7, "loss": loss}
    found = pgd(model, x, y, eps, step_size=eps / 4, random_start=False, early_stop=False, **options)
    last = textbook_walk(model, x, y, eps, size=eps / 4, **options)[-1]
    assert torch.allclose(found.x_adv, last, rtol=0, atol=1e-9)
    assert torch.equal(found.success, model(found.x_adv).argmax(1) != y)
    assert found.queries.tolist() == [8] * len(x)


@pytest.mark.parametrize("norm, eps", [("linf", 0.06), ("l2", 0.12)])
def test_robust_accuracy_is_that_of_the_textbook(norm, eps):
    model, x = small_net(), some_points(200)
    y = right_labels(model, x)
    y[:30] = (y[:30] + 1) % 4
    expected = textbook_robust(model, x, y, eps, norm=norm, steps=10, size=2.5 * eps / 10, loss="margin")
    assert 0.1 < expected < 0.8
    found = robust_accuracy(model, x, y, eps, norm=norm, steps=10, random_start=False)
    assert found.item() == pytest.approx(expected)


BOTH = {"restarts": 2, "loss": ("margin", "cross_entropy")}


@pytest.mark.parametrize("norm, eps", [("linf", 0.08), ("l2", 0.4)])
@pytest.mark.parametrize("trained", ["digits", "digits_by_squares"])
def test_our_attacks_are_not_weaker_than_the_textbook(trained, norm, eps, request):
    model, x, y = request.getfixturevalue(trained)
    size = 2.5 * eps / 20
    usual = textbook_robust(model, x, y, eps, norm=norm, steps=20, size=size, loss="cross_entropy")
    assert 0.1 < usual < 0.95
    for attack, options in ((pgd, BOTH), (pgd, {"loss": "cross_entropy"}), (apgd, {}), (apgd, BOTH)):
        ours = robust_accuracy(model, x, y, eps, attack=attack, norm=norm, generator=seeded(), **options)
        assert ours <= usual + 0.0134, f"{attack.__name__} with {options}"  # 4 of 300 images


def test_which_loss_is_stronger_depends_on_the_network(digits, digits_by_squares):
    found = [
        [robust_accuracy(*net, 0.08, loss=loss, generator=seeded()) for loss in ("margin", "cross_entropy")]
        for net in (digits, digits_by_squares)
    ]
    assert found[0][1] < found[0][0] and found[1][0] < found[1][1]


def test_an_attack_says_how_many_it_fooled():
    found = attacks.Attack(torch.zeros(3, 2), torch.tensor([True, False, True]), torch.ones(3))
    assert repr(found) == "Attack(2 of 3 samples fooled)"


def test_several_losses_take_turns():
    model, x = small_net(), some_points(100)
    y = right_labels(model, x)
    options = {"random_start": False, "steps": 5}
    margin, both = pgd(model, x, y, 0.08, **options), pgd(model, x, y, 0.08, **BOTH, **options)
    usual = pgd(model, x, y, 0.08, loss="cross_entropy", **options)
    assert torch.equal(both.success, margin.success | usual.success) and both.success.any()
    assert torch.equal(both.x_adv[margin.success], margin.x_adv[margin.success])


def test_fgsm_is_one_step_of_pgd():
    model, x = small_net(), some_points()
    y = right_labels(model, x)
    y[0] = (y[0] + 1) % 4
    found = fgsm(model, x, y, 0.05)
    step = pgd(model, x, y, 0.05, steps=1, step_size=0.05, random_start=False)
    assert torch.equal(found.x_adv, step.x_adv) and torch.equal(found.success, step.success)
    assert torch.equal(found.x_adv[0], x[0]) and found.success[0]
    assert torch.equal(fgsm(model, x, y, 0.0, early_stop=False).x_adv, x)
    radii = torch.linspace(0, 0.1, len(x), dtype=x.dtype)
    each = fgsm(model, x, y, radii, early_stop=False).x_adv
    assert torch.equal(each[-1:], fgsm(model, x[-1:], y[-1:], 0.1, early_stop=False).x_adv)
    with pytest.raises(ValueError, match="eps must be at least 0 and finite, got -0.1"):
        fgsm(model, x, y, -0.1)
    x_grad = x.clone().requires_grad_()
    textbook_loss(model(x_grad), y, "margin").sum().backward()
    formula = (x + 0.05 * x_grad.grad.sign()).clamp(0, 1)
    assert torch.allclose(fgsm(model, x, y, 0.05, early_stop=False).x_adv, formula, rtol=0, atol=1e-12)


# --- the slope at the logits --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["margin", "cross_entropy", "dlr", "plain_cross_entropy"])
@given(seed=st.integers(0, 10_000), classes=st.integers(3, 7), scale=st.floats(0.01, 3))
@settings(max_examples=12)
def test_slopes_point_where_autograd_does(loss, seed, classes, scale):
    logits = (scale * torch.randn(8, classes, generator=seeded(seed), dtype=torch.float64)).requires_grad_()
    y = torch.randint(classes, (8,), generator=seeded(seed))
    (expected,) = torch.autograd.grad(textbook_loss(logits, y, loss).sum(), logits)
    ours = attacks._net._slope(logits.detach(), y, loss)
    ours, expected = (slope / slope.abs().amax(1, True).clamp(min=1e-9) for slope in (ours, expected))
    assert torch.allclose(ours, expected, atol=1e-7)


def test_the_slope_of_cross_entropy_survives_where_its_loss_is_zero():
    logits, y = torch.tensor([[300.0, 1.0, 0.0]]), torch.tensor([0])
    assert F.cross_entropy(logits, y) == 0 and not attacks._net._slope(logits, y, "plain_cross_entropy").any()
    expected = torch.tensor([[-1.0, math.e / (math.e + 1), 1 / (math.e + 1)]])
    assert torch.allclose(attacks._net._slope(logits, y, "cross_entropy"), expected)


def test_cross_entropy_is_as_strong_as_margin_where_float32_leaves_nothing_of_it(digits):
    model, x, y = digits
    sure = copy.deepcopy(model)
    for weight in sure[-1].parameters():
        weight.data.mul_(1e4)
    keep = sure(x).argmax(1) == y
    x, y = x[keep], y[keep]
    with torch.no_grad():
        assert (F.cross_entropy(sure(x), y, reduction="none") == 0).float().mean() > 0.95
    found = {
        loss: robust_accuracy(sure, x, y, [0.05, 0.1], loss=loss, generator=seeded())
        for loss in ("margin", "cross_entropy", "plain_cross_entropy")
    }
    assert (found["cross_entropy"] - found["margin"]).abs().max() <= 0.02
    assert (found["plain_cross_entropy"] - found["margin"]).max() > 0.3


@pytest.mark.parametrize("norm, eps", [("linf", 0.1), ("l2", 0.3)])
def test_tiny_and_huge_gradients_lead_the_same_way(norm, eps):
    x = some_points(dtype=torch.float32)
    y = right_labels(small_net(dtype=torch.float32), x)
    found = []
    for scale in (1e-18, 1.0, 1e18):  # squares of these gradients are 0 or infinite in float32
        model = small_net(dtype=torch.float32)
        for weight in model[-1].parameters():
            weight.data.mul_(scale)
        found.append(pgd(model, x, y, eps, norm=norm, generator=seeded()).success)
    assert found[1].any() and torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])


# --- ball and bounds ----------------------------------------------------------------------------------------


@given(
    attack=st.sampled_from([fgsm, pgd, apgd, square]),
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(1e-5, 1.0),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    shape=st.sampled_from([(1,), (6,), (2, 3), (3, 5, 4)]),
    bounds=st.sampled_from([(0.0, 1.0), (-0.5, 1.5), (-math.inf, math.inf)]),
    early_stop=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80)
def test_points_stay_in_the_ball_and_the_bounds(attack, norm, eps, dtype, shape, bounds, early_stop, seed):
    x = some_points(9, shape, dtype, seed)
    x[0], x[1] = max(bounds[0], -3.0), min(bounds[1], 3.0)  # corners of the cube
    model = nn.Sequential(nn.Flatten(), small_net(math.prod(shape), seed=seed, dtype=dtype))
    y = torch.randint(4, (9,), generator=seeded(seed))
    options = {"bounds": bounds}
    if attack in (pgd, apgd):
        options |= {"norm": norm, "steps": 5, "generator": seeded(seed)}
    elif attack is square:
        options |= {"steps": 5, "generator": seeded(seed)}
    if attack in (fgsm, pgd):
        options |= {"early_stop": early_stop}
    before = x.clone()
    found = attack(model, x, y, eps, **options)
    assert torch.equal(x, before) and not found.x_adv.requires_grad
    assert found.x_adv.shape == x.shape and found.x_adv.dtype == dtype
    assert found.x_adv.min() >= bounds[0] and found.x_adv.max() <= bounds[1]
    away = (found.x_adv.double() - x.double()).flatten(1)
    distance = away.norm(dim=1) if norm == "l2" and attack in (pgd, apgd) else away.abs().amax(1)
    assert (distance <= eps * (1 + 1e-6)).all()
    assert torch.equal(found.success, model(found.x_adv).argmax(1) != y)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_whole_ball_is_used(norm):
    model = nn.Linear(50, 2)  # linear: the best point lies on the sphere, and a fixed label is never lost
    x = torch.full((3, 50), 0.5)
    y = right_labels(model, x)
    eps = 1e-3
    away = (pgd(model, x, y, eps, norm=norm, generator=seeded()).x_adv - x).double()
    distance = away.abs().amax(1) if norm == "linf" else away.norm(dim=1)
    assert torch.allclose(distance, torch.full((3,), eps).double(), rtol=1e-3)


@pytest.mark.parametrize("norm, order", [("linf", math.inf), ("l2", 2)])
def test_starts_fill_the_ball_evenly(norm, order):
    model, n, d = nn.Linear(2, 2), 4000, 2
    x, y = torch.zeros(n, d), torch.zeros(n, dtype=torch.int64)
    options = {"norm": norm, "bounds": (-1, 1), "early_stop": False, "generator": seeded()}
    start = pgd(model, x, y, 0.5, steps=1, step_size=1e-12, **options).x_adv
    inner = (torch.linalg.vector_norm(start, order, dim=1) < 0.25).float().mean()  # 1/4 of the area
    assert abs(inner - 0.25) < 0.03 and start.mean(0).abs().max() < 0.03


# --- early drop, batches, restarts --------------------------------------------------------------------------


@pytest.mark.parametrize("norm, eps", [("linf", 0.06), ("l2", 0.12)])
def test_early_drop_keeps_the_first_point_that_fools(norm, eps):
    model, x = small_net(), some_points(60)
    y = right_labels(model, x)
    y[:5] = (y[:5] + 1) % 4
    options = {"norm": norm, "step_size": eps / 5}
    walks = [
        pgd(model, x, y, eps, steps=k, early_stop=False, generator=seeded(), **options).x_adv
        for k in range(1, 9)
    ]
    # The walk from the same start, one step longer each time, with nobody dropped. Its start is not seen.
    points = torch.stack([x, *walks])
    fooled = torch.stack([model(point).argmax(1) != y for point in points])
    first = fooled.int().argmax(0).where(fooled.any(0), torch.tensor(len(points) - 1))
    found = pgd(model, x, y, eps, steps=8, generator=seeded(), **options)
    seen = found.queries != 3  # of x, of the random start and of that again: the start fools
    expected = points[first, torch.arange(len(x))]
    assert seen.float().mean() > 0.8 and 0.2 < found.success.float().mean() < 0.95
    assert torch.equal(found.success[seen], fooled.any(0)[seen])
    assert torch.allclose(found.x_adv[seen], expected[seen], rtol=0, atol=1e-12)


@pytest.mark.parametrize("attack", [pgd, apgd, square])
def test_neither_batches_nor_others_change_what_happens_to_a_sample(attack, monkeypatch):
    model, x = small_net(), some_points(30)
    y = right_labels(model, x)
    options = {"steps": 12, "restarts": 2}
    whole = attack(model, x, y, 0.05, generator=seeded(), **options)
    small = attack(model, x, y, 0.05, generator=seeded(), batch_size=7, **options)
    assert torch.equal(whole.success, small.success) and torch.equal(whole.queries, small.queries)
    assert torch.allclose(whole.x_adv, small.x_adv, rtol=0, atol=1e-12)
    others = y.clone()
    others[1:] = (others[1:] + 1) % 4  # wrong from the beginning, and dropped at once
    alone = attack(model, x, others, 0.05, generator=seeded(), **options)
    assert torch.allclose(alone.x_adv[0], whole.x_adv[0], rtol=0, atol=1e-12)
    assert 0 < whole.success.sum() < 30
    monkeypatch.setattr(attacks._follow, "BLOCK", 8)
    blocks = attack(model, x, y, 0.05, generator=seeded(), **options)
    again = attack(model, x, y, 0.05, generator=seeded(), **options)
    assert torch.equal(blocks.x_adv, again.x_adv) and blocks.x_adv.shape == x.shape
    assert torch.equal(blocks.success, model(blocks.x_adv).argmax(1) != y)


def test_restarts_only_add():
    model, x = small_net(), some_points(100)
    y = right_labels(model, x)
    options = {"steps": 1, "step_size": 1e-9}  # hardly more than the start
    one, many = (pgd(model, x, y, 0.1, restarts=r, generator=seeded(), **options) for r in (1, 8))
    assert (many.success | ~one.success).all() and many.success.sum() > one.success.sum()
    assert torch.equal(many.queries[one.success], one.queries[one.success])


def test_a_picture_is_attacked_alike_in_any_batch():
    model, x = small_cnn().double(), some_points(20, (3, 8, 8))
    y = right_labels(model, x)
    whole = pgd(model, x, y, 0.05, generator=seeded())
    single = pgd(model, x, y, 0.05, generator=seeded(), batch_size=1)
    assert whole.x_adv.is_contiguous() and 0 < whole.success.sum() < 20
    assert torch.allclose(whole.x_adv, single.x_adv, rtol=0, atol=1e-12)


def test_eps_can_be_given_for_each_sample():
    model, x = small_net(), some_points()
    y = right_labels(model, x)
    eps = torch.linspace(0, 0.2, len(x), dtype=x.dtype)
    found = pgd(model, x, y, eps, generator=seeded(), early_stop=False)
    away = (found.x_adv - x).abs().amax(1)
    assert (away <= eps + 1e-12).all() and torch.equal(found.x_adv[0], x[0])
    assert torch.allclose(away, eps, atol=1e-6)


# --- adaptive steps and random search -----------------------------------------------------------------------


def test_checkpoints_are_those_of_the_paper():
    assert list(attacks._attacks._checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert attacks._attacks._checkpoints(100)[41] == 19
    assert all(gap > 0 for steps in range(1, 60) for gap in attacks._attacks._checkpoints(steps).values())


def test_apgd_climbs_at_least_as_high_as_pgd():
    """On a concave hill whose top lies inside the ball, steps of one size overshoot for ever."""

    def hill(x: Tensor) -> Tensor:
        height = -(x - 0.52).square().sum(1) - 1e-5  # never above 0: class 0 is never lost
        return torch.stack([torch.zeros_like(height), height, height - 1], dim=1)

    x, y = some_points(20), torch.zeros(20, dtype=torch.int64)
    heights = {
        name: hill(attack(hill, x, y, 0.9, steps=60, loss="margin", generator=seeded()).x_adv)[:, 1]
        for name, attack in {"pgd": pgd, "apgd": apgd}.items()
    }
    assert heights["apgd"].max() <= 0 and heights["apgd"].min() > -1e-3
    assert (heights["apgd"] > heights["pgd"]).float().mean() > 0.9


def test_apgd_returns_to_the_best_point(digits):
    model, x, y = digits
    found = apgd(model, x, y, 0.02, generator=seeded())
    with torch.no_grad():
        before, after = (textbook_loss(model(points), y, "cross_entropy") for points in (x, found.x_adv))
    rises = after >= before
    assert rises[~found.success].float().mean() > 0.99


def test_random_search_needs_no_gradient():
    model = small_net()
    x = some_points(60)

    def blind(x: Tensor) -> Tensor:
        return model((x * 50).round() / 50).detach()

    y = blind(x).argmax(1)
    with pytest.raises(ValueError, match="no gradient comes through the model to x .* Attack it with square"):
        pgd(blind, x, y, 0.1)
    found = square(blind, x, y, 0.1, steps=200, generator=seeded())
    assert found.success.float().mean() > 0.3
    assert torch.equal(found.success, blind(found.x_adv).argmax(1) != y)
    assert found.queries[found.success].max() > found.queries[found.success].min() >= 2


def test_random_search_finds_most_of_what_pgd_finds(digits):
    model, x, y = digits
    by_pgd = robust_accuracy(model, x, y, 0.1, generator=seeded())
    for image in (None, (1, 8, 8)):
        options = {"attack": square, "steps": 300, "image": image, "generator": seeded()}
        by_search = robust_accuracy(model, x, y, 0.1, **options)
        assert by_pgd <= by_search + 0.01 and by_search < robust_accuracy(model, x, y, 0) - 0.3


def test_squares_have_one_sign_for_each_channel_and_shrink():
    model, x = small_cnn().double(), torch.full((4, 3, 16, 16), 0.5, dtype=torch.float64)
    y = right_labels(model, x)
    ball = attacks._ball.Ball(x, torch.full((4,), 0.1, dtype=x.dtype), "linf", (0.0, 1.0))
    brush = attacks._attacks._Brush(x, None, 0.8, seeded())
    inside, signs = brush.square(ball, 0.0)
    assert inside.sum(dim=(1, 2, 3)).tolist() == [3 * 14 * 15] * 4  # 0.8 of 256 is 14.3 squared
    assert (signs == signs[:, :, :1, :1]).all() and set(signs.unique().tolist()) == {-1, 1}
    assert brush.square(ball, 0.9)[0].sum(dim=(1, 2, 3)).tolist() == [3] * 4
    stripes = brush.stripes(ball)
    assert (stripes == stripes[:, :, :1]).all() and not (stripes == stripes[:, :, :, :1]).all()
    found = square(model, x, y, 0.1, steps=3, generator=seeded())
    away = (found.x_adv - x).abs()
    assert torch.allclose(away[~found.success], torch.full_like(away[~found.success], 0.1))


# --- accuracy and distance ----------------------------------------------------------------------------------


def test_robust_accuracy_without_attack_is_accuracy(digits):
    model, x, y = digits
    clean = robust_accuracy(model, x, y, 0)
    assert clean == training.accuracy(model, x, y) and clean.shape == () and clean.dtype == torch.float32


def test_a_list_of_radii_gives_what_each_radius_gives(digits):
    model, x, y = digits
    radii = [0.1, 0.0, 0.05, 0.02]
    options = {"random_start": False, "steps": 5}
    together = robust_accuracy(model, x, y, radii, **options)
    alone = torch.stack([robust_accuracy(model, x, y, eps, **options) for eps in radii])
    order = torch.tensor(radii).argsort()
    assert together.shape == (4,) and (together[order].diff() <= 0).all()
    assert torch.allclose(together[order], alone[order].cummin(0).values, atol=0.005)
    assert torch.equal(robust_accuracy(model, x, y, torch.tensor(radii), **options), together)


@pytest.mark.parametrize("norm, dual", [("linf", 1), ("l2", 2)])
def test_distance_of_a_linear_network_is_known(norm, dual):
    model = nn.Linear(5, 2).double()
    model.weight.data, model.bias.data = some_points(2, (5,)) - 0.5, torch.zeros(2, dtype=torch.float64)
    x = 0.5 * some_points(50, (5,), seed=3) - 0.25
    y = right_labels(model, x)
    slope, z = model.weight.diff(dim=0)[0].detach(), model(x).detach()
    exact = (z[:, 0] - z[:, 1]).abs() / slope.norm(p=dual)
    options = {"norm": norm, "bounds": (-4.0, 4.0), "generator": seeded()}
    found = adversarial_distance(model, x, y, **options)
    assert (found >= exact - 1e-12).all() and torch.allclose(found, exact, rtol=0.03, atol=2e-3)
    assert not adversarial_distance(model, x, 1 - y, **options).any()


def test_distance_is_that_of_a_point_that_fools(digits):
    model, x, y = digits
    found = adversarial_distance(model, x, y, generator=seeded())
    assert ((found == 0) == (model(x).argmax(1) != y)).all() and found.isfinite().all()
    # A ball with that radius holds an adversarial example; pgd from another start finds nearly all.
    again = pgd(model, x, y, found * (1 + 1e-5) + 1e-6, steps=40, restarts=2, generator=seeded(1))
    assert again.success.float().mean() > 0.9
    below = pgd(model, x, y, 0.8 * found, generator=seeded(2)).success & (found > 0)
    assert below.float().mean() < 0.05


def test_distance_is_infinite_where_nothing_is_found():
    model = nn.Linear(3, 2)
    model.weight.data.zero_()
    model.bias.data = torch.tensor([1.0, 0.0])
    assert adversarial_distance(model, torch.rand(4, 3), torch.tensor([0, 0, 0, 1])).tolist() == [
        math.inf
    ] * 3 + [0]


# --- the model comes back as it was -------------------------------------------------------------------------

CALLS = {
    "fgsm": lambda model, x, y: fgsm(model, x, y, 0.1),
    "pgd": lambda model, x, y: pgd(model, x, y, 0.1, norm="l2", restarts=2, generator=seeded()),
    "apgd": lambda model, x, y: apgd(model, x, y, 0.1, steps=5, generator=seeded()),
    "square": lambda model, x, y: square(model, x, y, 0.1, steps=5, generator=seeded()),
    "robust_accuracy": lambda model, x, y: robust_accuracy(model, x, y, [0, 0.1], generator=seeded()),
    "distance": lambda model, x, y: adversarial_distance(model, x, y, halvings=2, generator=seeded()),
    "diagnose": lambda model, x, y: attacks.diagnose(model, x, y, 0.1, queries=5, generator=seeded()),
    "zero_gradient_share": lambda model, x, y: attacks.zero_gradient_share(model, x, y),
    "refused": lambda model, x, y: pytest.raises(ValueError, pgd, model, x, y + 5, 0.1),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("grad", [True, False])
def test_the_model_comes_back_as_it_was(name, grad):
    model = small_cnn(batch_norm=True).eval()
    model[4].train()  # a flattening layer: harmless
    model[0].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    x = some_points(6, (3, 8, 8), torch.float32)
    y = right_labels(model, x)
    state, modes = copy.deepcopy(model.state_dict()), [part.training for part in model.modules()]
    strides = {key: value.stride() for key, value in model.state_dict().items()}
    wants = [weight.requires_grad for weight in model.parameters()]
    random = torch.get_rng_state()
    with torch.set_grad_enabled(grad):
        CALLS[name](model, x, y)
        assert torch.is_grad_enabled() == grad
    assert [part.training for part in model.modules()] == modes
    assert [weight.requires_grad for weight in model.parameters()] == wants
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert {key: value.stride() for key, value in model.state_dict().items()} == strides
    assert (model[0].weight.grad == 1).all()
    assert all(weight.grad is None for key, weight in model.named_parameters() if key != "0.weight")
    assert torch.equal(torch.get_rng_state(), random)


def test_without_a_generator_torchs_own_draws():
    model, x = small_net(), some_points()
    y = right_labels(model, x)
    state = torch.get_rng_state()
    try:
        torch.manual_seed(5)
        first = pgd(model, x, y, 0.05).x_adv
        second = pgd(model, x, y, 0.05).x_adv
        torch.manual_seed(5)
        assert torch.equal(pgd(model, x, y, 0.05).x_adv, first) and not torch.equal(first, second)
    finally:
        torch.set_rng_state(state)


# --- what is refused ----------------------------------------------------------------------------------------

X, Y = torch.full((3, 6), 0.5), torch.tensor([0, 1, 2])
NET = models.mlp([6, 3], generator=seeded())


def with_part(part: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 4), part, nn.Linear(4, 3))


def broken_net() -> nn.Module:
    model = nn.Linear(6, 3)
    model.weight.data[0, 0] = math.nan
    return model


def steep(x: Tensor) -> Tensor:
    return (x - 0.5).abs().sqrt()[:, :3]  # an infinite slope at 0.5


@pytest.mark.parametrize(
    "error, sentence, call",
    [
        (
            ValueError,
            "training mode and has Dropout.*Call model.eval",
            lambda: pgd(with_part(nn.Dropout()), X, Y, 0.1),
        ),
        (
            ValueError,
            "training mode and has BatchNorm1d",
            lambda: fgsm(with_part(nn.BatchNorm1d(4)), X, Y, 0.1),
        ),
        (
            ValueError,
            "mixes the samples of a batch in evaluation mode too",
            lambda: pgd(with_part(nn.BatchNorm1d(4, track_running_stats=False)).eval(), X, Y, 0.1),
        ),
        (
            TypeError,
            "loop over ensemble.s. for s in range.2.",
            lambda: pgd(training.Ensemble([small_net(), small_net()]), X, Y, 0.1),
        ),
        (TypeError, "expected a model, x -> logits, got list", lambda: pgd([], X, Y, 0.1)),
        (ValueError, "logits are NaN or infinite", lambda: pgd(broken_net(), X, Y, 0.1)),
        (ValueError, "gradient at the input is NaN or infinite", lambda: fgsm(steep, X, Y, 0.1)),
        (
            ValueError,
            r"x goes from 0.5 to 0.5, outside bounds=\(0.6, 1\)",
            lambda: pgd(NET, X, Y, 0.1, bounds=(0.6, 1)),
        ),
        (ValueError, "outside bounds", lambda: pgd(NET, X * math.nan, Y, 0.1)),
        (ValueError, "bounds must be .smallest, largest", lambda: pgd(NET, X, Y, 0.1, bounds=(1, 0))),
        (ValueError, "x must be float32 or float64, got torch.float16", lambda: pgd(NET, X.half(), Y, 0.1)),
        (ValueError, "got torch.uint8.*x.float.. / 255", lambda: pgd(NET, X.to(torch.uint8), Y, 0.1)),
        (TypeError, "expected a torch tensor of inputs, got ndarray", lambda: pgd(NET, X.numpy(), Y, 0.1)),
        (ValueError, "at least one sample", lambda: pgd(NET, X[:0], Y[:0], 0.1)),
        (ValueError, "torch.float32 on cpu, and x is torch.float64", lambda: pgd(NET, X.double(), Y, 0.1)),
        (
            ValueError,
            "labels y must be an int64 tensor.*got torch.float32",
            lambda: pgd(NET, X, Y.float(), 0.1),
        ),
        (ValueError, "got list", lambda: pgd(NET, X, [0, 1, 2], 0.1)),
        (ValueError, "one label for each of 3 samples", lambda: pgd(NET, X, Y[:2], 0.1)),
        (
            ValueError,
            "labels go from -1 to 1, but the model knows the classes 0 to 2",
            lambda: pgd(NET, X, Y - 1, 0.1),
        ),
        (ValueError, "labels go from 1 to 3", lambda: pgd(NET, X, Y + 1, 0.1)),
        (
            ValueError,
            r"expected the model to give logits \(N, C\)",
            lambda: pgd(lambda x: x[:, 0], X, Y, 0.1),
        ),
        (ValueError, "eps must be at least 0 and finite, got -0.1", lambda: pgd(NET, X, Y, -0.1)),
        (ValueError, "eps must be at least 0 and finite, got nan", lambda: pgd(NET, X, Y, math.nan)),
        (ValueError, "eps=8 is more than the whole range.*8/255 rather than 8", lambda: pgd(NET, X, Y, 8)),
        (
            ValueError,
            "eps=3 is more than the whole range of the input, 2.449",
            lambda: pgd(NET, X, Y, 3, norm="l2"),
        ),
        (ValueError, "eps must be a number, or one for each of 3", lambda: pgd(NET, X, Y, torch.ones(2))),
        (ValueError, "eps must be a number or a list", lambda: robust_accuracy(NET, X, Y, [])),
        (ValueError, "eps must be at least 0", lambda: robust_accuracy(NET, X, Y, [0.1, -0.1])),
        (
            ValueError,
            "steps must be a whole number of at least 1, got 0",
            lambda: pgd(NET, X, Y, 0.1, steps=0),
        ),
        (ValueError, "restarts must be a whole number", lambda: pgd(NET, X, Y, 0.1, restarts=0)),
        (ValueError, "batch_size must be a whole number", lambda: pgd(NET, X, Y, 0.1, batch_size=0)),
        (
            ValueError,
            "would repeat the same walk",
            lambda: pgd(NET, X, Y, 0.1, restarts=2, random_start=False),
        ),
        (ValueError, "step_size must be above 0", lambda: pgd(NET, X, Y, 0.1, step_size=-1.0)),
        (ValueError, "norm must be 'linf' or 'l2', got 'l1'", lambda: pgd(NET, X, Y, 0.1, norm="l1")),
        (ValueError, "loss must be one of 'margin'.*got 'hinge'", lambda: pgd(NET, X, Y, 0.1, loss="hinge")),
        (ValueError, "compares three logits", lambda: apgd(nn.Linear(6, 2), X, Y % 2, 0.1, loss="dlr")),
        (
            ValueError,
            r"image=\(1, 2, 2\) does not hold the 6 numbers",
            lambda: square(NET, X, Y, 0.1, image=(1, 2, 2)),
        ),
        (
            ValueError,
            r"image=\(2, 3\) does not hold the 6 numbers of a sample as \(channels, height, width\)",
            lambda: square(NET, X, Y, 0.1, image=(2, 3)),
        ),
        (ValueError, "share of the picture", lambda: square(NET, X, Y, 0.1, share=0)),
        (
            ValueError,
            "no largest eps to begin with: give max_eps",
            lambda: adversarial_distance(NET, X, Y, bounds=(-math.inf, math.inf)),
        ),
        (ValueError, "halvings must be", lambda: adversarial_distance(NET, X, Y, halvings=0)),
        (ValueError, "eps must be at least 0", lambda: attacks.adversarial_training(-1)),
        (ValueError, "loss must be one of", lambda: attacks.adversarial_training(0.1, attack_loss="hinge")),
        (
            ValueError,
            "loss must be 'cross_entropy', ",
            lambda: attacks.adversarial_training(0.1, loss="hinge"),
        ),
        (ValueError, "needs a batch", lambda: attacks.adversarial_training(0.1)(None, None)),
    ],
)
def test_what_cannot_be_right_is_refused(error, sentence, call):
    with pytest.raises(error, match=f"(?s){sentence}"):
        call()


def test_training_mode_alone_is_harmless():
    model = small_net(dtype=torch.float32).train()
    assert pgd(model, X, Y, 0.1, generator=seeded()).success.shape == (3,) and model.training

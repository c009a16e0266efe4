"""Is the attack to blame? And the defence: a network trained on what the attack finds."""

import copy
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigrok import data, models, training
from minigrok.attacks import adversarial_training, diagnose, pgd, robust_accuracy, zero_gradient_share

EPS = 0.06


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(step=None, seed: int = 0, steps: int = 250) -> tuple[nn.Module, data.Digits]:
    split = data.digits(1000)
    model = models.mlp([64, 50, 50, 10], generator=seeded(seed))
    state = training.State(model, torch.optim.AdamW(model.parameters(), lr=3e-3), seeded(seed))
    batches = training.minibatches(split.x_train, split.y_train, 100, seed=seed)
    training.train(step or training.classification_step(), state, steps=steps, batches=batches)
    return model, split


@pytest.fixture(scope="module")
def digits():
    model, split = trained()
    return model, split.x_test[:200], split.y_test[:200]


class Staircase(nn.Module):
    """Rounds its input, as a defence that looks robust: the gradient is 0 wherever there is one."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 8).round() / 8


def test_a_healthy_network_raises_no_suspicion(digits):
    model, x, y = digits
    found = diagnose(model, x, y, EPS, transfer_from=trained(seed=1, steps=100)[0], generator=seeded())
    assert found.suspicions == []
    assert found.zero_gradients < 0.01 and found.huge_eps <= 0.01 and found.largest_logit < 100
    assert found.together <= min(found.margin, found.cross_entropy) < found.clean
    assert found.transfer > found.margin and found.random_search >= found.margin - 0.02
    shares = set(asdict(found)) - {"eps", "largest_logit", "suspicions"}
    assert all(0 <= getattr(found, name) <= 1 for name in shares)


def test_a_function_is_diagnosed_as_the_module_it_calls(digits):
    model, x, y = digits
    twins = {torch.float32: model, torch.float64: copy.deepcopy(model).double()}
    found = [
        diagnose(asked, x[:50], y[:50], EPS, steps=5, queries=20, generator=seeded())
        for asked in (model, lambda points: twins[points.dtype](points))
    ]
    assert found[0] == found[1]


def test_its_numbers_are_those_of_the_attacks(digits):
    model, x, y = digits
    found = diagnose(model, x, y, EPS, queries=20, generator=seeded(3))
    assert found.eps == EPS and found.clean == pytest.approx(training.accuracy(model, x, y).item())
    assert found.margin == pytest.approx(
        robust_accuracy(model, x, y, EPS, generator=seeded(7)).item(), abs=0.03
    )
    with torch.no_grad():
        assert found.largest_logit == model(x).abs().max()
    assert diagnose(model, x, y, EPS, queries=20, generator=seeded(3)) == found
    assert found.transfer is None


def test_saturated_logits_are_found_out(digits):
    model, x, y = digits
    sure = copy.deepcopy(model)
    for weight in sure[-1].parameters():
        weight.data.mul_(1e4)
    found = diagnose(sure, x, y, EPS, queries=20, generator=seeded())
    healthy = diagnose(model, x, y, EPS, queries=20, generator=seeded())
    assert found.zero_gradients > 0.9 and found.largest_logit > 1e4
    assert found.plain_float32 > found.margin + 0.2
    assert found.margin == pytest.approx(healthy.margin, abs=0.011)  # the decisions are the same
    said = " ".join(found.suspicions)
    assert "gradient is exactly 0" in said and "the usual attack is too weak here" in said


def test_float64_finds_what_float32_rounds_away(digits):
    model, x, y = digits
    sure = copy.deepcopy(model)
    for weight in sure[-1].parameters():
        weight.data.mul_(40)  # float32 has no e^-104, float64 none below e^-745
    found = diagnose(sure, x, y, EPS, queries=20, generator=seeded())
    assert found.plain_float64 < found.plain_float32 - 0.05
    assert any("in float64 lowers the accuracy" in sentence for sentence in found.suspicions)


def test_a_flat_network_is_found_out(digits):
    model, x, y = digits
    flat = nn.Sequential(Staircase(), *model)
    found = diagnose(flat, x, y, 0.15, transfer_from=model, generator=seeded())
    assert found.zero_gradients == 1 and found.margin == found.plain_float64 == found.cross_entropy
    assert found.transfer < found.margin - 0.2 and found.random_search < found.margin - 0.2
    assert found.huge_eps > 0.05 and found.together < found.random_search + 0.001
    said = " ".join(found.suspicions)
    for words in (
        "Random search, which uses no gradient",
        "Examples made for another network",
        "within reach",
    ):
        assert words in said


def test_a_dead_layer_is_found_out(digits):
    model, x, y = digits
    dead = copy.deepcopy(model)
    dead[2].bias.data.fill_(-1e3)
    found = diagnose(dead, x, y, EPS, queries=20, generator=seeded())
    assert found.zero_gradients == 1 and found.huge_eps == found.clean > 0.05
    assert any("instead of 0" in sentence for sentence in found.suspicions)


def test_share_of_zero_gradients_is_that_of_autograd(digits):
    model, x, y = digits
    sure = copy.deepcopy(model)
    for weight in sure[-1].parameters():
        weight.data.mul_(20)
    points = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(sure(points), y, reduction="sum"), points)
    expected = (gradient == 0).all(1).float().mean()
    assert 0.05 < expected < 0.95 and zero_gradient_share(sure, x, y) == expected


def test_diagnosis_in_the_l2_norm(digits):
    model, x, y = digits
    found = diagnose(model, x, y, 0.3, norm="l2", queries=20, generator=seeded())
    by_pgd = robust_accuracy(model, x, y, 0.3, norm="l2", generator=seeded(1)).item()
    assert found.suspicions == [] and found.margin == pytest.approx(by_pgd, abs=0.03)


# --- the defence --------------------------------------------------------------------------------------------


def test_adversarial_training_makes_robust(digits):
    model, x, y = digits
    defended, _ = trained(adversarial_training(EPS, steps=4))
    plain = robust_accuracy(model, x, y, [0, EPS], generator=seeded())
    robust = robust_accuracy(defended, x, y, [0, EPS], generator=seeded())
    assert robust[1] > plain[1] + 0.05 and robust[0] > 0.85


def test_adversarial_training_repeats_bit_for_bit():
    runs = [trained(adversarial_training(EPS, steps=2), seed=2, steps=5)[0].state_dict() for _ in range(2)]
    other = trained(adversarial_training(EPS, steps=2, norm="l2"), seed=2, steps=5)[0].state_dict()
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not all(torch.equal(runs[0][name], other[name]) for name in other)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_with_eps_0_it_is_the_usual_step(loss):
    """Batch norm and dropout too: the attack runs in evaluation mode and leaves no trace."""
    after = []
    for step in (adversarial_training(0.0, loss=loss), training.classification_step(loss)):
        model = models.mlp([6, 12, 3], generator=seeded())
        model = nn.Sequential(model[0], nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5), model[2]).train()
        model[1].eval()  # a mode of its own, to be kept
        state = training.State(model, torch.optim.SGD(model.parameters(), lr=0.1), seeded())
        before = torch.get_rng_state()
        try:
            torch.manual_seed(0)
            for seed in range(3):
                step(state, (torch.rand(8, 6, generator=seeded(seed)), torch.arange(8) % 3))
        finally:
            torch.set_rng_state(before)
        assert [part.training for part in model] == [True, False, True, True, True]
        after.append(model.state_dict())
    assert all(torch.equal(after[0][name], after[1][name]) for name in after[0])


def test_the_update_is_made_on_the_last_point_of_the_attack():
    model = models.mlp([6, 12, 3], generator=seeded())
    x, y = torch.rand(8, 6, generator=seeded()), torch.arange(8) % 3
    options = {"loss": "cross_entropy", "steps": 3, "early_stop": False}
    x_adv = pgd(model, x, y, 0.1, generator=seeded(), **options).x_adv
    expected = copy.deepcopy(model)
    training.classification_step()(
        training.State(expected, torch.optim.SGD(expected.parameters(), lr=0.1)), (x_adv, y)
    )
    state = training.State(model, torch.optim.SGD(model.parameters(), lr=0.1), seeded())
    adversarial_training(0.1, steps=3)(state, (x, y))
    assert all(map(torch.equal, model.parameters(), expected.parameters()))


def test_an_ensemble_is_refused():
    ensemble = training.Ensemble([models.mlp([6, 4, 3], generator=seeded(s)) for s in range(2)])
    state = training.State(ensemble, torch.optim.SGD(ensemble.parameters(), lr=0.1), seeded())
    with pytest.raises(TypeError, match="loop over ensemble"):
        adversarial_training(0.1)(state, (torch.rand(8, 6), torch.arange(8) % 3))

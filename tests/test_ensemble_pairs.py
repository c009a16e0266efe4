"""training: ensembles of networks of pairs, sets of different sizes, and a learning rate for each network."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minigrok import data, models, training
from minigrok.training import Ensemble, EnsembleAdamW, State, accuracy, classification_loss, padded


@pytest.mark.parametrize("combine", ["add", "concatenate"])
def test_no_pairs_are_no_trouble(combine):
    ensemble = Ensemble([models.pair_mlp(5, 4, combine=combine) for _ in range(2)])
    assert ensemble(torch.zeros(0, 2, dtype=torch.int64)).shape == (2, 0, 5)


KINDS = {
    "added": {},
    "shared": {"shared": True},
    "squares": {"activation": models.Square},
    "concatenated": {"combine": "concatenate", "dim": 5},
    "concatenated, shared": {"combine": "concatenate", "dim": 5, "shared": True},
}
close = torch.testing.assert_close


def generator(seed):
    return torch.Generator().manual_seed(seed)


def networks(kind, n=3, p=7, width=12):
    return [models.pair_mlp(p, width, generator=generator(s), **KINDS[kind]).double() for s in range(n)]


def pairs(*shape, p=7, seed=0):
    return torch.randint(p, (*shape, 2), generator=generator(seed))


# --- what an ensemble of them computes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("each", [True, False])
def test_an_ensemble_of_pairs_is_its_networks(kind, each):
    nets = networks(kind)
    ensemble = Ensemble(nets)
    assert ensemble._paired
    x = pairs(3, 20) if each else pairs(20)
    y = torch.randint(7, x.shape[:-1], generator=generator(1))
    classification_loss(ensemble(x), y).sum().backward()
    for s, net in enumerate(nets):
        mine, labels = (x[s], y[s]) if each else (x, y)
        close(ensemble(x)[s], net(mine))
        close(ensemble[s](mine), net(mine))
        F.cross_entropy(net(mine), labels).backward()
        stacks = dict(ensemble.stacked.named_parameters())
        for name, weight in net.named_parameters():
            close(stacks[name].grad[s], weight.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_agrees_with_differences_twice(kind):
    ensemble = Ensemble(networks(kind, n=2, p=3, width=4))
    weights = dict(ensemble.named_parameters())
    x = pairs(2, 4, p=3)

    def logits(*tensors):
        return torch.func.functional_call(ensemble, dict(zip(weights, tensors, strict=True)), (x,))

    assert torch.autograd.gradcheck(logits, tuple(weights.values()))
    assert torch.autograd.gradgradcheck(logits, tuple(weights.values()))


@pytest.mark.parametrize("looks", [0, 1])
def test_another_batch_or_a_changed_one_is_seen(looks):
    nets = networks("added")
    ensemble, x, other = Ensemble(nets), pairs(10), pairs(10, seed=1)
    for _ in range(looks):
        ensemble(x), ensemble(other)
    close(ensemble(x)[1], nets[1](x))
    close(ensemble(other)[1], nets[1](other))
    x[0] = (x[0] + 1) % 7
    close(ensemble(x)[1], nets[1](x))
    with torch.no_grad():
        close(ensemble(other)[1], nets[1](other))
    ensemble(x).sum().backward()
    before = {name: w.grad.clone() for name, w in ensemble.named_parameters()}
    fresh = Ensemble(nets)
    fresh(x).sum().backward()
    for name, weight in fresh.named_parameters():
        close(before[name], weight.grad)


# --- gradients by their own formula


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("width", [12, 2**17])  # one chunk for all networks, and one for each
def test_gradients_are_those_of_the_loss(kind, each, width):
    n, p = (3, 7) if width == 12 else (2, 3)
    ensemble = Ensemble(networks(kind, n=n, p=p, width=width))
    x = pairs(n, 9, p=p) if each else pairs(9, p=p)
    y = torch.randint(-1, p, x.shape[:-1], generator=generator(1))
    y[..., -1] = -1  # and what fills up the set of every network
    classification_loss(ensemble(x), y).sum().backward()
    expected = [weight.grad.clone() for weight in ensemble.parameters()]
    for times in (1, 2):  # gradients add up
        ensemble.zero_grad(set_to_none=times == 1)
        for _ in range(times):
            training.classification_gradients(ensemble, x, y)
        for weight, grad in zip(ensemble.parameters(), expected, strict=True):
            close(weight.grad, times * grad)
    assert ensemble._has_formula() == (not kind.startswith("concatenated"))


def test_gradients_notice_other_labels_and_changed_ones():
    ensemble, x, y = Ensemble(networks("added")), pairs(9), torch.arange(9) % 7

    def differ(labels):
        ensemble.zero_grad()
        training.classification_gradients(ensemble, x, labels)
        by_formula = [weight.grad.clone() for weight in ensemble.parameters()]
        ensemble.zero_grad()
        classification_loss(ensemble(x), labels).sum().backward()
        return max((a - b.grad).abs().max() for a, b in zip(by_formula, ensemble.parameters(), strict=True))

    assert differ(y) < 1e-12 and differ(y.flip(0)) < 1e-12
    assert differ(y) < 1e-12
    training.classification_gradients(ensemble, x, y)
    y[:3] = 6  # the same tensor with other numbers
    x[4] = 0
    assert differ(y) < 1e-12


def test_frozen_weights_get_no_gradient():
    ensemble = Ensemble(networks("added"))
    ensemble.stacked.left.weight.requires_grad_(False)
    training.classification_gradients(ensemble, pairs(9), torch.arange(9) % 7)
    assert ensemble.stacked.left.weight.grad is None and ensemble.stacked.right.weight.grad is not None


@given(st.floats(0, 1e4))
@settings(deadline=None, max_examples=20)
def test_huge_logits_overflow_nowhere(scale):
    nets = [models.pair_mlp(5, 8, generator=generator(0), scale=max(scale, 1e-3))]
    ensemble = Ensemble(nets)
    x, y = pairs(20, p=5), torch.arange(20) % 5
    training.classification_gradients(ensemble, x, y)
    (net,) = nets
    F.cross_entropy(net(x), y).backward()
    for mine, its in zip(ensemble.parameters(), net.parameters(), strict=True):
        close(mine.grad[0], its.grad, rtol=1e-3, atol=1e-5 * its.grad.abs().max().item())


def test_biases_and_other_bodies_take_the_general_way():
    nets = networks("added")
    for net in nets:
        net.body[1] = nn.Linear(12, 7).double()
    ensemble, x = Ensemble(nets), pairs(3, 9)
    assert not ensemble._paired
    for s, net in enumerate(nets):
        close(ensemble(x)[s], net(x[s]))


@pytest.mark.parametrize(
    "x, text",
    [
        (torch.tensor([[0, 7]]), "pairs of whole numbers from 0 to 6, got torch.int64 from 0 to 7"),
        (torch.tensor([[-1, 3]]), "from -1 to 3"),
        (torch.zeros(4, 2), "pairs of whole numbers from 0 to 6, got torch.float32"),
        (torch.zeros(4, 3, dtype=torch.int64), r"pairs \(N, 2\).*got shape \(4, 3\)"),
        (torch.zeros(2, 4, 2, dtype=torch.int64), r"or \(3, N, \.\.\.\) with a batch for each"),
    ],
)
def test_what_is_no_batch_of_pairs_is_refused(x, text):
    with pytest.raises(ValueError, match=text):
        Ensemble(networks("added"))(x)


# --- sets of different sizes


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from(["cross_entropy", "squared_error"])
)
@settings(deadline=None)
def test_what_fills_a_set_up_counts_nowhere(sizes, loss):
    sets = [(torch.randn(n, 3, generator=generator(n)), torch.arange(n) % 3) for n in sizes]
    x, y = padded(sets)
    assert x.shape == (len(sizes), max(sizes), 3) and (y >= 0).sum(1).tolist() == sizes
    logits = (10 * x).requires_grad_()
    losses = classification_loss(logits, y, loss)
    losses.sum().backward()
    for s, (own, labels) in enumerate(sets):
        close(losses[s], classification_loss(10 * own, labels, loss))
        close(accuracy(lambda x: x, x, y)[s], accuracy(lambda x: x, own, labels))
        assert (logits.grad[s, len(own) :] == 0).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "stablemax"])
def test_one_network_may_leave_samples_out_too(loss):
    logits, y = torch.randn(5, 4, generator=generator(0)), torch.tensor([1, -1, 3, 0, -1])
    close(classification_loss(logits, y, loss), classification_loss(logits[y >= 0], y[y >= 0], loss))


# --- one learning rate for each


def plain_loop(net, x, y, lr, decay, steps):
    """The oracle: one network, torch's own cross-entropy and AdamW."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=decay, betas=(0.9, 0.98))
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_runs_of_all_kinds_train_together_as_each_would_alone(dtype):
    cells = [(0.3, 1e-2, 1.0, 0), (0.5, 3e-3, 0.0, 1), (0.8, 1e-2, 3.0, 2), (0.5, 3e-2, 0.1, 1)]
    nets = [models.pair_mlp(11, 16, generator=generator(seed)).to(dtype) for *_, seed in cells]
    sets = [data.arithmetic("add", 11, fraction=fraction, seed=seed)[:2] for fraction, *_, seed in cells]
    lr, decay = ([cell[i] for cell in cells] for i in (1, 2))
    ensemble = Ensemble(nets)
    optimizer = EnsembleAdamW(
        ensemble.parameters(),
        lr=torch.tensor(lr, dtype=torch.float64),
        weight_decay=torch.tensor(decay, dtype=torch.float64),
    )
    batch = padded(sets)
    training.train(
        training.classification_step(), State(ensemble, optimizer), steps=100, batches=lambda t: batch
    )
    tolerance = {"rtol": 0, "atol": 1e-9 if dtype == torch.float64 else 2e-3}
    for s, net in enumerate(nets):
        before = copy.deepcopy(net)
        plain_loop(net, *sets[s], lr[s], decay[s], 100)
        for mine, its, was in zip(
            ensemble[s].parameters(), net.parameters(), before.parameters(), strict=True
        ):
            close(mine, its, **tolerance)
            assert (its - was).abs().max() > 0.05  # there was something to compare


@given(
    st.floats(0, 0.1),
    st.floats(0, 5),
    st.tuples(st.floats(0, 0.99), st.floats(0.5, 0.999)),
    st.integers(1, 5),
)
@settings(deadline=None, max_examples=30)
def test_with_one_number_for_all_it_is_adamw(lr, decay, betas, steps):
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)) for _ in range(2))
    kinds = (
        EnsembleAdamW([ours], lr=lr, weight_decay=decay, betas=betas),
        torch.optim.AdamW([theirs], lr=lr, weight_decay=decay, betas=betas),
    )
    for t in range(steps):
        for weight, optimizer in zip((ours, theirs), kinds, strict=True):
            weight.grad = torch.randn(3, 4, generator=generator(t), dtype=torch.float64)
            optimizer.step()
    close(ours, theirs)


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path):
    x, y = data.arithmetic("add", 7, fraction=0.5)[:2]

    def go(steps, **options):
        ensemble = Ensemble([models.pair_mlp(7, 8, generator=generator(s)) for s in range(2)])
        lr = torch.tensor([0.01, 0.02])
        state = State(ensemble, EnsembleAdamW(ensemble.parameters(), lr=lr, weight_decay=1.0))
        step = training.classification_step()
        return training.train(step, state, steps=steps, batches=lambda t: (x, y), **options).state

    whole = go(30)
    go(13, checkpoint=tmp_path / "run.pt")
    resumed = go(30, checkpoint=tmp_path / "run.pt")
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"lr": torch.ones(2)}, r"lr must be a number, or one for each network \(\[3\].*got shape \(2,\)"),
        ({"weight_decay": torch.ones(3, 1)}, r"weight_decay must be a number, or one .*got shape \(3, 1\)"),
        ({"lr": -1.0}, "lr must be finite and at least 0, got -1.0"),
        (
            {"lr": torch.tensor([1.0, 2.0, math.nan])},
            r"lr must be finite and at least 0, got \[1.0, 2.0, nan\]",
        ),
        ({"weight_decay": math.inf}, "weight_decay must be finite and at least 0, got inf"),
        ({"betas": (0.9, 1.0)}, "Invalid beta parameter at index 1: 1.0"),  # torch's own words
    ],
)
def test_options_that_cannot_be_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        EnsembleAdamW([nn.Parameter(torch.ones(3, 4))], **({"lr": 0.1, "weight_decay": 1.0} | options))

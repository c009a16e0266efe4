"""measures: each against a closed form or a computation that shares nothing with it."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import rel_entr, softmax
from torch import nn

from minigrok import measures, models
from minigrok.training import Ensemble, classification_loss, log_spaced

SEEDS = st.integers(0, 10_000)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def net(widths=(3, 4, 2), seed=0, activation=nn.Tanh, bias=True):
    return models.mlp(list(widths), generator=generator(seed), activation=activation, bias=bias).double()


def pairs(p):
    return torch.cartesian_prod(torch.arange(p), torch.arange(p))


# --- size and sharpness -------------------------------------------------------------------------------------


def test_weight_norm_is_the_length_of_one_long_vector():
    model = net()
    expected = nn.utils.parameters_to_vector(model.parameters()).norm()
    assert torch.allclose(measures.weight_norm(model), expected, rtol=1e-12)
    assert measures.weight_norm(model).shape == () and not measures.weight_norm(model).requires_grad


@pytest.mark.parametrize("measure", [measures.weight_norm, measures.weight_entropy])
def test_the_size_of_an_ensemble_is_that_of_each(measure):
    singles = [models.pair_mlp(7, 5, generator=generator(s)) for s in range(3)]
    assert torch.allclose(measure(Ensemble(singles)), torch.stack([measure(m) for m in singles]))
    with torch.no_grad():
        singles[1].left.weight[0, 0] = torch.nan
    assert measure(Ensemble(singles)).isnan().tolist() == [False, True, False]
    with pytest.raises(ValueError, match="ReLU has no parameters to measure"):
        measure(nn.ReLU())


def test_a_shared_table_counts_once():
    shared = models.pair_mlp(7, 5, shared=True, generator=generator())
    squares = shared.left.weight.square().sum() + shared.body[1].weight.square().sum()
    assert torch.allclose(measures.weight_norm(shared), squares.sqrt())


def test_weight_norm_refuses_what_has_no_weights():
    with pytest.raises(ValueError, match="ReLU has no parameters to measure"):
        measures.weight_norm(nn.ReLU())
    with pytest.raises(TypeError, match="expected a torch module with parameters, got function"):
        measures.weight_norm(net)


@given(SEEDS, st.floats(0.01, 50))
def test_weight_entropy_is_the_entropy_of_the_shares_times_their_total(seed, scale):
    model = net(seed=seed)
    sizes = scale * np.abs(nn.utils.parameters_to_vector(model.parameters()).detach().numpy())
    nn.utils.vector_to_parameters(torch.from_numpy(sizes), model.parameters())
    total = sizes.sum()
    expected = total * (stats.entropy(sizes) - math.log(total))  # SciPy's entropy makes shares of them
    assert measures.weight_entropy(model).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_weight_entropy_looks_at_sizes_alone():
    model = net()
    before = measures.weight_entropy(model)
    assert before.shape == () and not before.requires_grad
    with torch.no_grad():
        model[0].weight.neg_()
        model[2].weight.copy_(model[2].weight[:, torch.tensor([2, 0, 3, 1])])
    assert torch.allclose(measures.weight_entropy(model), before, rtol=1e-12)


@pytest.mark.parametrize(("size", "expected"), [(0.0, 0.0), (1.0, 0.0), (-1 / math.e, 1 / math.e)])
def test_weight_entropy_of_one_weight(size, expected):
    layer = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.fill_(size)
    assert measures.weight_entropy(layer).item() == pytest.approx(expected, abs=1e-15)
    with torch.no_grad():
        layer.weight.fill_(1.01 * size if size else 2.0)
    assert measures.weight_entropy(layer).item() < expected  # 1/e is the largest; below 0 above 1


X, Y = normal(12, 3, seed=1), torch.arange(12) % 2


def cross_entropy(model):
    return classification_loss(model(X), Y)


def hessian(loss, model):
    """The whole matrix, from the weights as one vector."""
    names, shapes = zip(*((name, p.shape) for name, p in model.named_parameters()), strict=True)

    def of_vector(theta):
        parts = theta.split([s.numel() for s in shapes])
        weights = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        return loss(lambda x: torch.func.functional_call(model, weights, (x,)))

    theta = nn.utils.parameters_to_vector(model.parameters()).detach()
    return torch.autograd.functional.hessian(of_vector, theta)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_the_exact_trace_is_that_of_the_whole_hessian(activation):
    model = net(activation=activation)
    expected = hessian(cross_entropy, model).trace()
    assert torch.allclose(measures.hessian_trace(cross_entropy, model, samples=None), expected, rtol=1e-9)


def test_the_estimate_has_the_mean_and_the_variance_that_are_promised():
    model = net()
    H = hessian(cross_entropy, model)
    off_diagonal = H.square().sum() - H.diagonal().square().sum()
    source, n = generator(5), 600
    draws = torch.stack(
        [measures.hessian_trace(cross_entropy, model, samples=1, generator=source) for _ in range(n)]
    )
    deviation = (2 * off_diagonal).sqrt()
    assert abs(draws.mean() - H.trace()) < 3 * deviation / math.sqrt(n)
    assert 0.8 < draws.std() / deviation < 1.25
    many = measures.hessian_trace(cross_entropy, model, samples=n, generator=generator(5))
    assert torch.allclose(many, draws.mean(), rtol=1e-12)  # the same coins


def test_the_trace_of_least_squares_is_known():
    line = nn.Linear(3, 2).double()
    targets = normal(12, 2, seed=2)

    def loss(model):
        return (model(X) - targets).square().sum(dim=1).mean()

    # d^2/dW_oj^2 is 2 mean x_j^2 and d^2/db_o^2 is 2, for both outputs o
    expected = 2 * 2 * (X.square().sum(dim=1).mean() + 1)
    assert torch.allclose(measures.hessian_trace(loss, line, samples=None), expected, rtol=1e-12)
    estimates = measures.hessian_trace(loss, line, samples=2000, generator=generator(3))
    assert abs(estimates / expected - 1) < 0.05


@pytest.mark.parametrize("samples", [1, None])
def test_a_loss_that_is_linear_in_the_weights_has_no_trace(samples):
    found = measures.hessian_trace(lambda line: line(X).sum(), nn.Linear(3, 2).double(), samples=samples)
    assert found == 0 and found.shape == ()


def test_where_all_is_fitted_the_trace_is_the_length_of_the_gradients():
    """What ties the gradient lemma to sharpness: tr H = 2 mean ||df/dtheta||^2 if f fits exactly."""
    model = net()
    targets = model(X).detach()

    def loss(model):
        return (model(X) - targets).square().sum(dim=1).mean()

    squares = 0.0
    for x in X:
        for output in model(x):
            squares += sum(
                g.square().sum() for g in torch.autograd.grad(output, model.parameters(), retain_graph=True)
            )
    trace = measures.hessian_trace(loss, model, samples=None)
    assert torch.allclose(trace, 2 * squares / len(X), rtol=1e-9)
    bound = measures.gradient_bound(model, X)
    assert bound.weight_gradient <= trace.item() / 2


def test_each_network_of_an_ensemble_has_its_own_trace():
    singles = [net(seed=s) for s in range(3)]
    expected = torch.stack([measures.hessian_trace(cross_entropy, m, samples=None) for m in singles])
    ensemble = Ensemble(singles)
    assert torch.allclose(measures.hessian_trace(cross_entropy, ensemble, samples=None), expected, rtol=1e-9)
    estimate = measures.hessian_trace(cross_entropy, ensemble, samples=300, generator=generator(1))
    assert estimate.shape == (3,) and (estimate / expected - 1).abs().max() < 0.2


def test_the_trace_leaves_no_trace():
    model = net()
    before, torchs_own = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with torch.no_grad():  # as in an observation
        first = measures.hessian_trace(cross_entropy, model, samples=3, generator=generator(7))
    second = measures.hessian_trace(cross_entropy, model, samples=3, generator=generator(7))
    assert first == second and not second.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert torch.equal(torchs_own, torch.get_rng_state())


def test_weights_without_curvature_count_zero():
    model = net()
    assert measures.hessian_trace(lambda m: m[2].bias.sum(), model, samples=2) == 0
    only_one = measures.hessian_trace(lambda m: m[2].bias.square().sum(), model, samples=None)
    assert only_one == 4  # two biases, second derivative 2 each; the other weights take no part
    model[2].bias.requires_grad_(False)
    with pytest.raises(ValueError, match="does not depend on the model's parameters"):
        measures.hessian_trace(lambda m: m[2].bias.square().sum(), model)


def test_hessian_trace_says_what_is_wrong():
    model = net()
    with pytest.raises(ValueError, match="samples must be at least 1, or None for the exact trace; got 0"):
        measures.hessian_trace(cross_entropy, model, samples=0)
    with pytest.raises(ValueError, match=r"a tensor of shape \(\); got shape \(12,\).*mean over the samples"):
        measures.hessian_trace(lambda m: m(X)[:, 0], model)
    with pytest.raises(ValueError, match=r"of shape \(2,\); got shape \(\)"):
        measures.hessian_trace(lambda m: cross_entropy(m).sum(), Ensemble([net(), net(seed=1)]))
    with pytest.raises(ValueError, match=r"got float"):
        measures.hessian_trace(lambda m: cross_entropy(m).item(), model)
    with pytest.raises(ValueError, match=r"not under torch.no_grad and without .detach\(\)"):
        measures.hessian_trace(lambda m: cross_entropy(m).detach(), model)


# --- the gradient lemma -------------------------------------------------------------------------------------


def both_gradients(model, layer, x):
    """Mean squared lengths of df/dx and df/dW1 with plain loops."""
    by_x = by_weight = 0.0
    for sample in x:
        sample = sample.clone().requires_grad_()
        for output in model(sample[None]).flatten():
            gx, gw = torch.autograd.grad(output, [sample, layer.weight], retain_graph=True)
            by_x, by_weight = by_x + gx.square().sum().item(), by_weight + gw.square().sum().item()
    return by_x / len(x), by_weight / len(x)


@settings(max_examples=40)
@given(
    SEEDS,
    st.lists(st.integers(1, 6), min_size=2, max_size=4),
    st.integers(1, 7),
    st.booleans(),
    st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU]),
    st.floats(0.01, 100),
)
def test_the_gradient_lemma_holds_on_random_networks(seed, widths, n, bias, activation, scale):
    model = net(widths, seed, activation, bias)
    x = scale * normal(n, widths[0], seed=seed + 1)
    bound = measures.gradient_bound(model, x)
    assert bound.left <= bound.right * (1 + 1e-12)
    by_x, by_weight = both_gradients(model, model[0], x)
    assert bound.left == pytest.approx(by_x, rel=1e-9) and bound.weight_gradient == pytest.approx(
        by_weight, rel=1e-9
    )
    factor = model[0].weight.square().sum() / x.square().sum(dim=1).min()
    assert bound.right == pytest.approx(factor.item() * by_weight, rel=1e-9)


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 5), st.integers(1, 3))
def test_the_lemma_is_tight_for_one_unit_and_inputs_of_one_length(seed, d, outputs):
    x = nn.functional.normalize(normal(6, d, seed=seed), dim=1) * 3
    bound = measures.gradient_bound(net([d, 1, outputs], seed), x)
    assert bound.left == pytest.approx(bound.right, rel=1e-9)
    assert bound.smallest_input == pytest.approx(3) and bound.left > 0


def test_each_step_of_the_lemma_can_lose():
    one_unit, many = net([3, 1, 1]), net([3, 8, 1])
    sphere = nn.functional.normalize(normal(5, 3), dim=1)
    lengths = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)[:, None]
    for model, x in [(one_unit, sphere * lengths), (many, sphere)]:
        bound = measures.gradient_bound(model, x)
        assert 0 < bound.left < 0.9 * bound.right


def test_the_bound_takes_functions_images_and_embeddings():
    model = net([4, 5, 2])
    x = normal(6, 4)
    expected = measures.gradient_bound(model, x)
    as_function = measures.gradient_bound(lambda z: 1 + model(z), x, layer=model[0])
    assert as_function == expected
    images = nn.Sequential(nn.Flatten(), *model)
    assert measures.gradient_bound(images, x.view(6, 1, 2, 2)) == expected
    table = models.pair_mlp(7, 16, combine="concatenate", dim=3, generator=generator())
    e = table.embed(pairs(7)).detach()
    bound = measures.gradient_bound(table.body, e)
    by_x, by_weight = both_gradients(table.body, table.body[0], e)
    assert bound.left == pytest.approx(by_x, rel=1e-4) and bound.weight_gradient == pytest.approx(
        by_weight, rel=1e-4
    )


def test_a_relu_in_place_changes_nothing():
    model, x = net([4, 5, 2], activation=nn.ReLU), normal(6, 4)
    in_place = nn.Sequential(model[0], nn.ReLU(inplace=True), model[2])
    assert measures.gradient_bound(in_place, x) == measures.gradient_bound(model, x)


def test_the_bound_leaves_the_network_as_it_was():
    model, x = net([4, 5, 2]), normal(9, 4)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():  # as in an observation
        assert measures.gradient_bound(model, x) == measures.gradient_bound(model, x)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not model[0]._forward_hooks and not x.requires_grad


class Skip(nn.Module):
    """A network that reads x twice: through its layer, and past it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3).double()

    def forward(self, x):
        return x + torch.tanh(self.layer(x))


def test_networks_that_the_lemma_is_not_about_are_refused():
    x = normal(5, 3)
    with pytest.raises(ValueError, match="something else reads x too"):
        measures.gradient_bound(Skip(), x)
    model = net([3, 3, 2])
    with pytest.raises(
        ValueError, match="a first layer that reads x itself, once; for x .5, 3. .* called 1 times"
    ):
        measures.gradient_bound(model, x, layer=model[2])
    twice = nn.Sequential(model[0], nn.Tanh(), model[0])
    with pytest.raises(ValueError, match="called 2 times, on shapes"):
        measures.gradient_bound(twice, x)
    with pytest.raises(ValueError, match="called 0 times"):
        measures.gradient_bound(model, x, layer=nn.Linear(3, 3))
    added = models.pair_mlp(7, 3, generator=generator()).double()
    with pytest.raises(ValueError, match="reads x itself"):  # a ReLU comes first
        measures.gradient_bound(added.body, x)
    with pytest.raises(TypeError, match=r"call it with ensemble\[s\] for each s"):
        measures.gradient_bound(Ensemble([model, model]), x)
    with pytest.raises(ValueError, match="found no nn.Linear in function: name the layer that reads x"):
        measures.gradient_bound(lambda x: x, x)
    with pytest.raises(ValueError, match="is in training mode"):
        measures.gradient_bound(nn.Sequential(*model, nn.Dropout(0.5)), x)


def test_outputs_and_inputs_without_gradients_are_refused():
    model = net()
    with pytest.raises(TypeError, match=r"got x of torch.int64: hand in model.embed\(x\)"):
        measures.gradient_bound(model, pairs(3))
    with pytest.raises(ValueError, match="the outputs are NaN or infinite for some samples"):
        measures.gradient_bound(lambda x: model(x) * torch.inf, normal(5, 3), layer=model[0])
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        measures.gradient_bound(model, normal(5, 3))


def test_samples_without_length_are_refused():
    x = normal(5, 3)
    x[2] = 0
    with pytest.raises(ValueError, match="finite length above 0, got shape .5, 3. and lengths from 0 to"):
        measures.gradient_bound(net(), x)
    x[2] = torch.nan
    with pytest.raises(ValueError, match="lengths from nan"):
        measures.gradient_bound(net(), x)
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        measures.gradient_bound(net(), x[0])


# --- lost weights -------------------------------------------------------------------------------------------


def divergence(model, cut, x):
    """Mean KL(softmax of the one || softmax of the other), by SciPy."""
    p, q = (softmax(m(x).detach().double().numpy(), axis=-1) for m in (model, cut))
    return rel_entr(p, q).sum(axis=-1).mean()


def with_zeros(model, name, places):
    """A copy in which these weights of a parameter are zero."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.get_parameter(name).view(-1)[places] = 0
    return model


def small(kind):
    """A network of this kind and inputs for it."""
    if kind == "vectors":
        return net(), X
    if kind == "pairs":
        return models.pair_mlp(5, 4, shared=True, generator=generator()), pairs(5)
    layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    return nn.Sequential(*layers).double().eval(), normal(4, 1, 4, 4)


KINDS = ["vectors", "pairs", "images"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_loses_all_its_weights(kind):
    model, x = small(kind)
    layers = [name for name, p in model.named_parameters() if p.dim() > 1]
    expected = np.mean([divergence(model, with_zeros(model, name, slice(None)), x) for name in layers])
    found = measures.circuit_complexity(model, x, share=1, draws=2, generator=generator())
    assert expected > 0 and found.dtype == torch.float64 and found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_every_cut_takes_exactly_its_share_of_one_layer_and_each_weight_as_often():
    seen = []

    class Spy(nn.Linear):
        def forward(self, x):
            seen.append((self.weight == 0).flatten())
            return super().forward(x)

    model = nn.Sequential(Spy(5, 4), nn.Tanh(), Spy(4, 3)).double()
    draws = 500
    measures.circuit_complexity(model, normal(2, 5), share=0.25, draws=draws, generator=generator())
    first, second = torch.stack(seen[2::2]), torch.stack(seen[3::2])  # after the uncut run
    assert first.sum(dim=1).tolist() == [5] * draws + [0] * draws
    assert second.sum(dim=1).tolist() == [0] * draws + [3] * draws
    for cuts in (first[:draws], second[draws:]):
        often = cuts.double().mean(dim=0)
        assert (often - 0.25).abs().max() < 4.5 * math.sqrt(0.25 * 0.75 / draws)


def test_one_lost_weight_is_the_least():
    model = nn.Linear(2, 2, bias=False).double()
    each = [divergence(model, with_zeros(model, "weight", j), X[:, :2]) for j in range(4)]
    source, n = generator(1), 400
    draws = [
        measures.circuit_complexity(model, X[:, :2], share=0.01, draws=1, generator=source).item()
        for _ in range(n)
    ]
    assert all(min(abs(d - e) for e in each) < 1e-12 for d in draws)
    assert abs(np.mean(draws) - np.mean(each)) < 4 * np.std(each) / math.sqrt(n)
    together = measures.circuit_complexity(model, X[:, :2], share=0.01, draws=n, generator=generator(1))
    assert together.item() == pytest.approx(np.mean(draws), rel=1e-12)


def test_a_network_of_zeros_has_nothing_to_lose():
    model = net()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model[2].bias.copy_(torch.tensor([3.0, -1.0]))  # the bias alone decides, and is never cut
    assert measures.circuit_complexity(model, X) == measures.circuit_complexity(model, X, scaled=True) == 0
    with torch.no_grad():
        model[2].bias.zero_()
    assert measures.circuit_complexity(model, X, scaled=True) == 0  # no spread at all


@settings(max_examples=20)
@given(SEEDS, st.sampled_from([0.1, 0.5, 1.0]))
def test_what_the_network_computes_counts_and_not_how_it_is_scaled_inside(seed, share):
    model = net(seed=seed, activation=nn.ReLU, bias=False)
    found = measures.circuit_complexity(model, X, share=share, draws=3, generator=generator(seed))
    assert found >= -1e-15
    with torch.no_grad():
        model[0].weight.mul_(8)
        model[2].weight.div_(8)
    again = measures.circuit_complexity(model, X, share=share, draws=3, generator=generator(seed))
    assert again.item() == pytest.approx(found.item(), rel=1e-9, abs=1e-15)


@settings(max_examples=20)
@given(SEEDS, st.sampled_from([0.1, 0.5, 1.0]), st.floats(0.01, 100))
def test_scaled_complexity_does_not_see_the_size_of_the_logits(seed, share, factor):
    model = net(seed=seed)
    options = {"share": share, "draws": 3}
    found = measures.circuit_complexity(model, X, scaled=True, generator=generator(seed), **options)
    spread = np.std(model(X).detach().numpy(), axis=1).mean()
    with torch.no_grad():
        for p in model[2].parameters():
            p.mul_(factor)
        again = measures.circuit_complexity(model, X, scaled=True, generator=generator(seed), **options)
        for p in model[2].parameters():
            p.div_(factor * spread)  # logits of spread 1: as if it were not asked for
    by_hand = measures.circuit_complexity(model, X, generator=generator(seed), **options)
    assert again.item() == pytest.approx(found.item(), rel=1e-9, abs=1e-15)
    assert by_hand.item() == pytest.approx(found.item(), rel=1e-9, abs=1e-15)


def test_the_order_of_the_units_does_not_count():
    model, order = net(), torch.tensor([2, 0, 3, 1])
    found = measures.circuit_complexity(model, X, share=0.3, draws=1500, generator=generator(1))
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight[order])
        model[0].bias.copy_(model[0].bias[order])
        model[2].weight.copy_(model[2].weight[:, order])
    again = measures.circuit_complexity(model, X, share=0.3, draws=1500, generator=generator(2))
    assert again.item() == pytest.approx(found.item(), rel=0.1)  # other cuts, the same mean


@pytest.mark.parametrize("kind", KINDS)
def test_each_network_of_an_ensemble_is_cut_by_itself(kind):
    model, x = small(kind)
    singles = [copy.deepcopy(model) for _ in range(3)]
    with torch.no_grad():
        for p in singles[1].parameters():
            p.mul_(1.5)
    many = Ensemble(singles, sample_dims=x.dim() - 1)
    expected = [measures.circuit_complexity(m, x, share=1).item() for m in singles]
    found = measures.circuit_complexity(many, x, share=1)
    assert found.shape == (3,) and found.tolist() == pytest.approx(expected, rel=1e-4)
    expected = [measures.circuit_complexity(m, x, share=1, scaled=True).item() for m in singles]
    found = measures.circuit_complexity(many, x, share=1, scaled=True)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    few = measures.circuit_complexity(many, x, share=0.3, draws=2, generator=generator())
    assert few[0] != few[2]  # one network twice, and other cuts
    with torch.no_grad():
        next(many.parameters())[1] = torch.nan
    assert measures.circuit_complexity(many, x).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_itself_is_never_cut(kind):
    (model, x), torchs_own = small(kind), torch.get_rng_state()
    before = copy.deepcopy(model.state_dict())
    parameters, mode = [id(p) for p in model.parameters()], model.training
    draws = [
        measures.circuit_complexity(model, x, draws=1, share=0.4, generator=generator(s)) for s in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2] and torch.equal(torchs_own, torch.get_rng_state())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert [id(p) for p in model.parameters()] == parameters and model.training is mode
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_circuit_complexity_says_what_is_wrong():
    model = net()
    for share, draws in [(0, 1), (1.1, 1), (math.nan, 1), (0.1, 0)]:
        text = rf"a share in \(0, 1\] and at least one draw, got {share} and {draws}"
        with pytest.raises(ValueError, match=text):
            measures.circuit_complexity(model, X, share=share, draws=draws)
    with pytest.raises(TypeError, match="expected a torch module with parameters, got function"):
        measures.circuit_complexity(lambda x: x, X)
    with pytest.raises(ValueError, match="LayerNorm has no layer to cut"):
        measures.circuit_complexity(nn.LayerNorm(3).double(), X)
    with pytest.raises(ValueError, match=r"two classes, .* the model returned shape \(12, 1\)"):
        measures.circuit_complexity(net((3, 4, 1)), X)
    with pytest.raises(ValueError, match=r"at least one sample .* shape \(0, 2\)"):
        measures.circuit_complexity(model, X[:0])
    with pytest.raises(ValueError, match=r"'3' \(Dropout\) is in training mode: .* Call model.eval\(\)"):
        measures.circuit_complexity(nn.Sequential(*model, nn.Dropout(0.5)), X)


# --- waves on Z_p -------------------------------------------------------------------------------------------


def power_by_hand(column):
    """The power of each frequency from products with cosines and sines, one at a time."""
    p = len(column)
    angle = 2 * np.pi * np.arange(p) / p
    result = []
    for k in range(p // 2 + 1):
        wave = (column @ np.cos(k * angle)) ** 2 + (column @ np.sin(k * angle)) ** 2
        result.append(wave if k == 0 or 2 * k == p else 2 * wave)
    return np.array(result)


@settings(max_examples=40)
@given(st.integers(3, 24), st.integers(1, 4), SEEDS)
def test_power_is_that_of_cosines_and_sines(p, d, seed):
    table = normal(p, d, seed=seed)
    powers = np.stack([power_by_hand(column) for column in table.numpy().T], axis=1)
    together, each = measures.fourier_power(table), measures.fourier_power(table, per_column=True)
    np.testing.assert_allclose(together, powers.sum(axis=1) / powers.sum(), rtol=1e-9)
    np.testing.assert_allclose(each, powers / powers.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(powers.sum(axis=0), p * table.square().sum(dim=0))  # Parseval
    np.testing.assert_allclose(
        measures.inverse_participation(table, 3), ((powers / powers.sum(axis=0)) ** 3).sum(axis=0), rtol=1e-9
    )


@given(st.integers(3, 24), st.integers(0, 30), SEEDS)
def test_power_knows_no_phase(p, shift, seed):
    table = normal(p, 2, seed=seed)
    for moved in (table.roll(shift, dims=0), table.flip(0), -3 * table):
        assert torch.allclose(measures.fourier_power(moved), measures.fourier_power(table), atol=1e-12)


@given(st.integers(3, 40), st.data())
def test_one_wave_has_one_frequency_whatever_its_phase(p, data):
    k = data.draw(st.integers(0, p // 2))
    phase = data.draw(st.floats(0.1, 1.4))
    wave = torch.cos(2 * torch.pi * k * torch.arange(p, dtype=torch.float64) / p + phase)
    expected = torch.zeros(p // 2 + 1, dtype=torch.float64)
    expected[k] = 1
    assert torch.allclose(measures.fourier_power(wave), expected, atol=1e-9)
    assert torch.allclose(measures.inverse_participation(wave), torch.tensor(1.0, dtype=torch.float64))


@given(st.integers(1, 8), st.floats(1.5, 4))
def test_k_equal_waves_have_the_participation_that_is_promised(n, order):
    angle = 2 * torch.pi * torch.arange(17, dtype=torch.float64) / 17
    mixture = sum(torch.cos(k * angle + k) for k in range(1, n + 1))
    ratio = measures.inverse_participation(mixture, order)
    assert ratio.item() == pytest.approx(n ** (1 - order), rel=1e-9)


def test_k_and_minus_k_apart_a_wave_has_one_half():
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(17, dtype=torch.float64) / 17 + 1)
    power = torch.fft.fft(wave).abs().square()
    apart = power.square().sum() / power.sum() ** 2
    assert apart.item() == pytest.approx(2 ** (1 - 2)) and measures.inverse_participation(wave) > 0.99


def test_the_cosine_solution_is_made_of_waves_and_a_random_table_is_not():
    solution = models.cosine_solution(31, 40, generator=generator())
    for table in (solution.left.weight, solution.right.weight, solution.body[1].weight):
        ratio = measures.inverse_participation(table)
        assert ratio.shape == (40,) and not ratio.requires_grad and (ratio > 0.999).all()
    # The shares of noise are Dirichlet: 1/2 for the constant (one normal number), 1 for a wave (two numbers).
    noise = measures.inverse_participation(normal(31, 2000))
    expected = (0.5 * 1.5 + 15 * 1 * 2) / (15.5 * 16.5)
    assert noise.mean().item() == pytest.approx(expected, rel=0.01)


def test_the_axis_can_be_any():
    table = normal(2, 11, 3)
    moved = table.movedim(1, 0)
    assert torch.equal(measures.fourier_power(table, 1), measures.fourier_power(moved))
    assert torch.equal(
        measures.inverse_participation(table, dim=1), measures.inverse_participation(moved)
    ) and measures.inverse_participation(table, dim=-2).shape == (2, 3)
    assert measures.fourier_power(table, 1, per_column=True).shape == (6, 2, 3)
    assert measures.key_frequencies(table, 2, dim=1) == measures.key_frequencies(moved, 2)


def test_a_silent_column_has_no_share():
    table = normal(7, 3)
    table[:, 1] = 0
    assert measures.inverse_participation(table).isnan().tolist() == [False, True, False]
    assert measures.fourier_power(table).isfinite().all() and measures.fourier_power(0 * table).isnan().all()


@given(st.integers(3, 24), st.integers(1, 3), st.floats(0.05, 1.0), SEEDS)
def test_key_frequencies_are_the_fewest_with_enough_power(p, d, share, seed):
    table = normal(p, d, seed=seed)
    found = measures.key_frequencies(table, share=share)
    waves = dict(enumerate(sum(power_by_hand(column) for column in table.numpy().T)))
    del waves[0]
    total = sum(waves.values())
    strongest = sorted(waves, key=waves.get, reverse=True)
    assert found == sorted(strongest[: len(found)])
    assert sum(waves[k] for k in found) >= share * total * (1 - 1e-9)
    assert len(found) == 1 or sum(waves[k] for k in strongest[: len(found) - 1]) < share * total * (1 + 1e-9)
    assert measures.key_frequencies(table, len(found)) == found


def test_the_constant_is_no_key_frequency():
    small = 100 + 0.01 * torch.cos(2 * torch.pi * 4 * torch.arange(11) / 11)
    assert measures.key_frequencies(small) == [4]
    with pytest.raises(ValueError, match="this table has no waves: its rows are all the same"):
        measures.key_frequencies(torch.full((11, 3), 0.1))


@pytest.mark.parametrize(
    "function", [measures.fourier_power, measures.inverse_participation, measures.key_frequencies]
)
def test_tables_that_have_no_spectrum_are_refused(function):
    with pytest.raises(ValueError, match="NaN or infinite entries: it has no Fourier spectrum"):
        function(torch.tensor([1.0, 2.0, torch.nan]))
    with pytest.raises(ValueError, match=r"axis dim=0 .* p of at least 3, got shape \(2, 5\)"):
        function(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"axis dim=2 .*got shape \(5, 5\)"):
        function(torch.zeros(5, 5), dim=2)
    with pytest.raises(TypeError, match="a torch tensor of floats, got torch.int64"):
        function(torch.arange(7))
    with pytest.raises(TypeError, match="a torch tensor of floats, got ndarray"):
        function(np.zeros(7))


def test_orders_and_counts_out_of_range_are_refused():
    with pytest.raises(ValueError, match="the order must be above 1 .* got 1"):
        measures.inverse_participation(normal(7), 1)
    for n, share in [(0, 0.9), (4, 0.9), (None, 0.0), (None, 1.5), (None, math.nan)]:
        with pytest.raises(ValueError, match=f"expected n from 1 to 3 .* got n={n}, share={share}"):
            measures.key_frequencies(normal(7), n, share=share)


def projector(p, frequencies):
    """The projection onto waves of a + b as a p^2 x p^2 matrix: orthonormal columns B, then B B^T."""
    a, b = pairs(p).double().T
    angles = [2 * math.pi * k * (a + b) / p for k in frequencies]
    columns = [wave for angle in angles for wave in (angle.cos(), angle.sin()) if wave.norm() > 1e-6]
    B = torch.stack(columns, dim=1) if columns else torch.zeros(p * p, 1, dtype=torch.float64)
    B = B / B.norm(dim=0).clamp_min(1e-6)
    return B @ B.T


SETS = st.integers(3, 9).flatmap(lambda p: st.tuples(st.just(p), st.sets(st.integers(1, p // 2))))


@settings(max_examples=30)
@given(SETS, SEEDS)
def test_restricted_and_excluded_are_projections(p_and_keys, seed):
    p, keys = p_and_keys
    logits, mean = normal(p * p, 4, seed=seed), normal(p * p, 4, seed=seed).mean(dim=0)
    kept, rest = measures.restricted(logits, keys), measures.excluded(logits, keys)
    waves = projector(p, keys) @ logits
    assert torch.allclose(kept, waves + mean, atol=1e-12) and torch.allclose(rest, logits - waves, atol=1e-12)
    assert torch.allclose(kept + rest, logits + mean, atol=1e-12)
    assert torch.allclose(measures.restricted(kept, keys), kept, atol=1e-12)  # idempotent
    assert torch.allclose(measures.excluded(rest, keys), rest, atol=1e-12)
    assert torch.allclose(measures.excluded(kept, keys), mean.expand(p * p, 4), atol=1e-12)
    assert torch.allclose(
        ((kept - mean) * rest).sum(dim=0), torch.zeros(4).double(), atol=1e-10
    )  # orthogonal
    assert torch.allclose(rest.mean(dim=0), mean, atol=1e-12)


@settings(max_examples=20)
@given(SETS, SEEDS)
def test_in_two_dimensions_the_waves_of_the_sum_are_the_diagonal(p_and_keys, seed):
    """cos and sin of w_k (a + b) are the entries (k, k) and (-k, -k) of the transform in a and b."""
    p, keys = p_and_keys
    logits = normal(p * p, 2, seed=seed)
    spectrum = torch.fft.fft2(logits.view(p, p, 2), dim=(0, 1))
    mask = torch.zeros(p, p, 1)
    for k in keys:
        mask[k, k] = mask[-k, -k] = 1
    removed = torch.fft.ifft2(spectrum * (1 - mask), dim=(0, 1)).real.reshape(p * p, 2)
    mask[0, 0] = 1
    kept = torch.fft.ifft2(spectrum * mask, dim=(0, 1)).real.reshape(p * p, 2)
    assert torch.allclose(measures.excluded(logits, keys), removed, atol=1e-12)
    assert torch.allclose(measures.restricted(logits, keys), kept, atol=1e-12)


def clock(p, keys, *, sign=1):
    """The logits of a clock, sum over k of cos(w_k (a + b - c)); with sign=-1 of a - b."""
    x, c = pairs(p).double(), torch.arange(p, dtype=torch.float64)
    angle = x[:, :1] + sign * x[:, 1:] - c
    return sum(torch.cos(2 * math.pi * k * angle / p) for k in keys)


def test_nothing_is_left_of_a_clock_without_its_frequencies():
    p, keys = 11, [2, 5]
    logits = 3 * clock(p, keys) + 7
    assert torch.allclose(measures.excluded(logits, keys), torch.full_like(logits, 7), atol=1e-12)
    assert torch.allclose(measures.restricted(logits, keys), logits, atol=1e-12)
    assert torch.allclose(measures.excluded(logits, [1, 3, 4]), logits, atol=1e-12)
    assert torch.allclose(measures.excluded(logits, [2]), 3 * clock(p, [5]) + 7, atol=1e-12)
    backwards = clock(p, keys, sign=-1)  # waves of a - b are no waves of a + b
    assert torch.allclose(measures.excluded(backwards, keys), backwards, atol=1e-12)


def test_restricted_and_excluded_of_many_networks_at_once():
    logits = normal(3, 2, 25, 4).float()
    for function in (measures.restricted, measures.excluded):
        together = function(logits, [1])
        assert together.dtype == torch.float32 and together.shape == logits.shape
        assert torch.allclose(together[2, 1], function(logits[2, 1], [1]))


def test_the_cosine_network_needs_its_waves_and_they_are_enough():
    p = 11
    model = models.cosine_solution(p, 2000, generator=generator())
    x = pairs(p)
    y = x.sum(dim=1) % p
    logits = model(x).detach()
    keys = measures.key_frequencies(model.body[1].weight, share=1.0)
    assert keys == [1, 2, 3, 4, 5]

    def accuracy(logits):
        return (logits.argmax(dim=1) == y).double().mean()

    assert accuracy(logits) == accuracy(measures.restricted(logits, keys)) == 1
    assert accuracy(measures.excluded(logits, keys)) < 3 / p  # guessing is 1 / p


def test_logits_and_frequencies_that_do_not_fit_are_refused():
    for function in (measures.restricted, measures.excluded):
        with pytest.raises(
            ValueError, match=r"got shape \(24, 5\), and 24 is not the square .* training pairs"
        ):
            function(torch.zeros(24, 5), [1])
        with pytest.raises(ValueError, match=r"shape \(5, 5, 4\).*flat with logits.flatten\(0, 1\)"):
            function(torch.zeros(5, 5, 4), [1])
        with pytest.raises(
            ValueError, match=r"frequencies on Z_5 are whole numbers from 1 to 2 .*got \[0, 3\]"
        ):
            function(torch.zeros(25, 5), [0, 1, 3])
        with pytest.raises(ValueError, match=r"got \[1.5\]"):
            function(torch.zeros(25, 5), [1.5])


# --- symmetry -----------------------------------------------------------------------------------------------


def test_commutativity_is_the_share_of_pairs_that_agree():
    model = models.pair_mlp(7, 16, generator=generator(2))
    x = pairs(7)
    answer = {(a, b): k for (a, b), k in zip(x.tolist(), model(x).argmax(dim=1).tolist(), strict=True)}
    expected = np.mean([answer[a, b] == answer[b, a] for a, b in answer])
    share = measures.commutativity(model, x)
    assert share.shape == () and share.item() == pytest.approx(expected) and 1 / 7 <= expected < 1
    shared = models.pair_mlp(7, 16, shared=True, generator=generator(2))
    assert measures.commutativity(shared, x) == 1  # before it has learnt anything: the trap


def test_commutativity_of_many_networks():
    singles = [models.pair_mlp(7, 16, generator=generator(s)) for s in range(3)]
    x = pairs(7)
    expected = torch.stack([measures.commutativity(m, x) for m in singles])
    assert torch.equal(measures.commutativity(Ensemble(singles), x), expected)
    with torch.no_grad():
        singles[1].right.weight[0, 0] = torch.nan
    assert measures.commutativity(Ensemble(singles), x).isnan().tolist() == [False, True, False]


def test_commutativity_wants_pairs():
    model = models.pair_mlp(7, 16, generator=generator())
    for x in (torch.zeros(4, 3, dtype=torch.long), torch.zeros(0, 2, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"at least one pair, got shape \(\d, \d\)"):
            measures.commutativity(model, x)


# --- spread of features -------------------------------------------------------------------------------------


def entropy(shares):
    shares = shares[shares > 1e-14]
    return -(shares * shares.log()).sum()


@settings(max_examples=40)
@given(SEEDS, st.integers(2, 12), st.integers(1, 8))
def test_the_entropy_is_that_of_the_second_moments_of_the_features(seed, n, d):
    """The d x d matrix mean z z^T has the eigenvalues of R/n: the entropy without the Gram matrix."""
    features = 5 * normal(n, d, seed=seed)
    R = measures.gram(features)
    assert torch.allclose(R, torch.cosine_similarity(features[:, None], features[None], dim=-1), atol=1e-12)
    z = features / features.norm(dim=1, keepdim=True)
    moments = torch.linalg.eigvalsh(z.T @ z / n)
    H = measures.matrix_entropy(R)
    assert torch.allclose(H, entropy(moments), atol=1e-10)
    assert -1e-12 <= H <= math.log(min(n, d)) + 1e-12
    for alpha in (0.5, 2.0, 3.0):
        moments = moments.where(moments > 1e-14, 0)
        renyi = moments.pow(alpha).sum().log() / (1 - alpha)
        assert torch.allclose(measures.matrix_entropy(R, alpha), renyi, atol=1e-6)


@settings(max_examples=30)
@given(SEEDS, st.integers(2, 12))
def test_the_entropy_of_order_two_and_the_limit_at_one(seed, n):
    R = measures.gram(normal(n, 5, seed=seed))
    closed = 2 * math.log(n) - 2 * R.norm().log()
    assert torch.allclose(measures.matrix_entropy(R, 2), closed, atol=1e-12)
    one = measures.matrix_entropy(R)
    for alpha in (1 - 1e-5, 1 + 1e-5):
        assert abs(measures.matrix_entropy(R, alpha) - one) < 1e-3
    orders = torch.stack([measures.matrix_entropy(R, alpha) for alpha in (0.3, 0.9, 1.0, 1.1, 2.0, 7.0)])
    assert (orders.diff() <= 1e-9).all()  # Renyi entropies fall with their order


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_identical_features_have_entropy_zero_and_orthogonal_ones_log_n(alpha):
    same = measures.gram(torch.tensor([[3.0, 4.0]]).expand(9, 2) * torch.arange(1, 10)[:, None])
    assert abs(measures.matrix_entropy(same, alpha)) < 1e-12
    apart = measures.gram(2 * torch.linalg.qr(normal(9, 9)).Q)
    assert measures.matrix_entropy(apart, alpha).item() == pytest.approx(math.log(9), abs=1e-12)
    groups = measures.gram(torch.eye(3).repeat_interleave(4, dim=0))  # 3 directions, 4 samples each
    assert measures.matrix_entropy(groups, alpha).item() == pytest.approx(math.log(3), abs=1e-12)
    assert measures.mutual_information(groups, groups, alpha).item() == pytest.approx(math.log(3), abs=1e-12)


@settings(max_examples=30)
@given(SEEDS, st.integers(2, 8), st.integers(1, 4), st.integers(1, 4))
def test_mutual_information_is_that_of_a_mixture_of_pairs(seed, n, d1, d2):
    """S(A) + S(B) - S(AB) of mean (z1 z1^T) (x) (z2 z2^T), built as a matrix of d1 d2 x d1 d2."""
    f1, f2 = normal(n, d1, seed=seed), normal(n, d2, seed=seed + 1)
    z1, z2 = (f / f.norm(dim=1, keepdim=True) for f in (f1, f2))
    both = sum(torch.kron(torch.outer(a, a), torch.outer(b, b)) for a, b in zip(z1, z2, strict=True)) / n
    parts = [torch.linalg.eigvalsh(M) for M in (z1.T @ z1 / n, z2.T @ z2 / n, both)]
    expected = entropy(parts[0]) + entropy(parts[1]) - entropy(parts[2])
    R1, R2 = measures.gram(f1), measures.gram(f2)
    found = measures.mutual_information(R1, R2)
    assert torch.allclose(found, expected, atol=1e-10)
    assert torch.allclose(found, measures.mutual_information(R2, R1), atol=1e-12)
    H1, H2 = measures.matrix_entropy(R1), measures.matrix_entropy(R2)
    assert -1e-10 <= found <= min(H1, H2) + 1e-10
    assert measures.mutual_information(R1, R1) <= H1 + 1e-10


def test_of_a_thing_with_itself_it_can_be_less_than_its_entropy():
    R = measures.gram(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))  # neither parallel nor orthogonal
    assert measures.mutual_information(R, R) < 0.9 * measures.matrix_entropy(R)


def test_matrices_of_many_networks_at_once():
    features = normal(3, 6, 4)
    R = measures.gram(features)
    assert R.shape == (3, 6, 6) and measures.gram(features.float()).dtype == torch.float64
    for alpha in (1.0, 2.0):
        singly = torch.stack([measures.matrix_entropy(r, alpha) for r in R])
        assert torch.allclose(measures.matrix_entropy(R, alpha), singly)
        singly = torch.stack([measures.mutual_information(r, R[0], alpha) for r in R])
        together = measures.mutual_information(R, R[0].expand(3, -1, -1), alpha)
        assert torch.allclose(together, singly, atol=1e-12)


def test_float32_matrices_are_taken_with_their_rounding():
    z = nn.functional.normalize(normal(60, 8).float(), dim=1)
    R = z @ z.T  # diagonal and smallest eigenvalues are off by rounding
    exact = measures.matrix_entropy(measures.gram(normal(60, 8)))
    assert abs(measures.matrix_entropy(R) - exact) < 1e-4


@pytest.mark.parametrize(
    "measure",
    [
        measures.gram,
        measures.sparsity,
        measures.matrix_entropy,
        lambda x: measures.commutativity(lambda x: x, x),
        lambda x: measures.perturbation_measures(lambda x: x, lambda x: x, x, sigma=0.1),
        lambda x: measures.gradient_bound(nn.Linear(4, 2), x),
        lambda x: measures.restricted(x, [1]),
    ],
)
def test_arrays_of_numpy_are_refused_in_words(measure):
    with pytest.raises(TypeError, match=r"expected a torch tensor.*, got ndarray. Use torch.as_tensor\(x\)"):
        measure(np.eye(4))


def test_features_without_a_direction_are_refused():
    features = torch.ones(4, 3)
    features[2] = 0
    with pytest.raises(
        ValueError, match=r"of 1 samples are all zero \(the first at \[2\]\).*before the ReLU"
    ):
        measures.gram(features)
    features[2] = torch.inf
    with pytest.raises(ValueError, match="the features are NaN or infinite for some samples"):
        measures.gram(features)
    for wrong in (torch.ones(1, 3), torch.ones(3), torch.ones(3, 0)):
        with pytest.raises(ValueError, match="of at least 2 samples"):
            measures.gram(wrong)
        with pytest.raises(ValueError, match="of at least 2 samples"):
            measures.sparsity(wrong)


@pytest.mark.parametrize(
    ("R", "text"),
    [
        (torch.ones(3, 2), r"a Gram matrix \(n, n\) .* got torch.float32 \(3, 2\): make it with gram"),
        (torch.ones(1, 1), "n of at least 2"),
        (torch.eye(3, dtype=torch.long), "got torch.int64"),
        (2 * torch.eye(3), "a diagonal that is off by 1 "),
        (torch.eye(3).where(torch.ones(3, 3).triu() > 0, 0.5), "a difference of 0.5 from the transpose"),
        (torch.eye(3) * torch.nan, "off by nan"),
        (3 * torch.eye(2) - 2, r"a negative eigenvalue \(-1\)"),
    ],
)
def test_what_is_no_gram_matrix_is_refused(R, text):
    with pytest.raises(ValueError, match=text):
        measures.matrix_entropy(R)
    with pytest.raises(ValueError, match=text):
        measures.mutual_information(R, R)


def test_orders_and_shapes_of_entropies():
    for alpha in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"alpha must be a finite number above 0 .* got {alpha}"):
            measures.matrix_entropy(torch.eye(3), alpha)
    with pytest.raises(ValueError, match=r"of the same samples, got shapes \(3, 3\) and \(4, 4\)"):
        measures.mutual_information(torch.eye(3), torch.eye(4))


def test_nothing_perturbed_nothing_moved():
    model, x = net([5, 8, 8, 2]), normal(20, 5)
    still = measures.perturbation_measures(model[:2], model[:4], x, sigma=0.0)
    assert still.ed == 0 and still.mid == 0 and still.pe == still.entropy > 0


def test_the_four_measures_are_what_they_say():
    model, x = net([5, 8, 8, 2]), normal(20, 5)
    first, later = model[:2], model[:4]
    found = measures.perturbation_measures(first, later, x, sigma=0.3, generator=generator(4))
    noisy = x + 0.3 * torch.randn(20, 5, generator=generator(4), dtype=torch.float64)

    def spread(features):
        z = features.detach() / features.detach().norm(dim=1, keepdim=True)
        return z @ z.T

    def H(R):
        return entropy(torch.linalg.eigvalsh(R / 20))

    R1, R2, N1, N2 = spread(first(x)), spread(later(x)), spread(first(noisy)), spread(later(noisy))
    information, pmi = H(R1) + H(R2) - H(R1 * R2), H(N1) + H(N2) - H(N1 * N2)
    for value, expected in [
        (found.pe, H(N2)),
        (found.pmi, pmi),
        (found.ed, abs(H(N2) - H(R2))),
        (found.mid, abs(pmi - information)),
    ]:
        assert value.item() == pytest.approx(expected.item(), abs=1e-10) and value > 0


def test_the_differences_have_no_sign():
    """Noise spreads features that lie together, and may gather features that lie apart."""
    together, apart = torch.ones(6, 6) + 0.01 * torch.eye(6), torch.eye(6)
    more = measures.perturbation_measures(
        lambda x: x, lambda x: x, together, sigma=0.5, generator=generator()
    )
    less = measures.perturbation_measures(lambda x: x, lambda x: x, apart, sigma=0.5, generator=generator())
    assert more.pe > more.entropy and more.ed == more.pe - more.entropy
    assert less.pe < less.entropy and less.ed == less.entropy - less.pe
    assert more.mid > 0 and less.mid > 0


def test_measures_on_embeddings_and_of_an_ensemble():
    singles = [models.pair_mlp(7, 12, combine="concatenate", dim=4, generator=generator(s)) for s in range(2)]
    x = pairs(7)[::3]
    found = [
        measures.perturbation_measures(m.body[:2], m.body, m.embed(x), sigma=0.4, generator=generator(1))
        for m in singles
    ]
    e = singles[0].embed(x)  # one batch for both
    ensemble = Ensemble([m.body for m in singles])
    layers = Ensemble([m.body[:2] for m in singles])
    both = measures.perturbation_measures(layers, ensemble, e, sigma=0.4, generator=generator(1))
    assert both.pe.shape == both.pmi.shape == both.ed.shape == both.mid.shape == (2,)
    for name in ("pe", "pmi", "ed", "mid"):
        assert getattr(both, name)[0].item() == pytest.approx(getattr(found[0], name).item(), abs=1e-5)
    assert found[1].pe > 0 and not found[1].pe.requires_grad


def test_noise_is_drawn_from_the_generator_alone():
    model, x, torchs_own = net(), normal(9, 3), torch.get_rng_state()
    draws = [
        measures.perturbation_measures(model[:2], model, x, sigma=0.5, generator=generator(s)).pe
        for s in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2] and torch.equal(torchs_own, torch.get_rng_state())


def test_noise_needs_real_vectors_and_a_size():
    with pytest.raises(
        TypeError, match=r"got x of torch.int64. For pairs of numbers hand in model.embed\(x\)"
    ):
        measures.perturbation_measures(net(), net(), pairs(5), sigma=0.1)
    for sigma in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"sigma must be a finite number, 0 or more, .* got {sigma}"):
            measures.perturbation_measures(net(), net(), X, sigma=sigma)


def test_sparsity_counts_zeros():
    z = torch.relu(normal(3, 50, 8))
    counts = [sum(v == 0 for row in part for v in row) for part in z.tolist()]
    np.testing.assert_allclose(measures.sparsity(z), np.array(counts) / 400, rtol=1e-12)
    assert measures.sparsity(torch.zeros(4, 2)) == 1 and measures.sparsity(torch.ones(4, 2)) == 0
    with pytest.raises(ValueError, match="the features are NaN or infinite"):
        measures.sparsity(torch.tensor([[0.0], [torch.nan]]))


@given(SEEDS, st.floats(0, 3))
def test_sparsity_below_a_threshold(seed, tau):
    z = normal(20, 5, seed=seed)
    assert measures.sparsity(z, tau=tau).item() == pytest.approx(
        sum(abs(v) <= tau for v in z.flatten()) / 100
    )
    units = torch.tensor([4, 2, 0, 1, 3])
    assert measures.sparsity(z[:, units], tau=tau) == measures.sparsity(z, tau=tau)
    assert measures.sparsity(8 * z, tau=8 * tau) == measures.sparsity(z, tau=tau)


@pytest.mark.parametrize("tau", [-0.1, math.nan])
def test_sparsity_refuses_a_threshold_below_zero(tau):
    with pytest.raises(ValueError, match=f"tau must be 0 or more, in units of the features; got {tau}"):
        measures.sparsity(torch.ones(2, 2), tau=tau)


# --- when it happened ---------------------------------------------------------------------------------------


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0, math.nan]), min_size=3, max_size=3), min_size=1
    ),
    st.sampled_from([0.1, 0.5, 0.95]),
)
def test_first_reached_is_the_first_observation_at_the_level(values, level):
    steps = [3 * t for t in range(len(values))]
    expected = [
        next((step for step, row in zip(steps, values, strict=True) if row[s] >= level), math.nan)
        for s in range(3)
    ]
    found = measures.first_reached(steps, values, level)
    np.testing.assert_array_equal(found, expected)
    alone = measures.first_reached(steps, [row[0] for row in values], level)
    assert isinstance(alone, float) and (
        alone == expected[0] or math.isnan(alone) and math.isnan(expected[0])
    )


def test_first_reached_of_a_falling_quantity_and_of_tensors():
    steps = log_spaced(1000, 6)
    loss = torch.linspace(3, 0, len(steps))
    assert measures.first_reached(steps, -loss, -1.5) == steps[3]
    assert measures.first_reached(np.array(steps), loss[:, None], 3.0).tolist() == [0.0]


def by_hand(steps, values, first, last, least, relative, level):
    """One curve's turn, look by look."""
    early = np.median([v for t, v in zip(steps, values, strict=True) if first <= t <= last])
    end = sorted(values[-3:])[len(values[-3:]) // 2]
    least = least * max(abs(early), abs(end)) if relative else least
    after = [k for k, t in enumerate(steps) if t > last]
    for k in after if abs(end - early) >= least and end != early else []:
        if (values[k] - early) / (end - early) >= level:
            return [steps[k - 1], steps[k]]
    return [steps[-1], math.inf]


eighths = st.lists(st.integers(-16, 16).map(lambda k: k / 8), min_size=6, max_size=6)


@given(st.lists(eighths, min_size=3, max_size=9), st.sampled_from([0, 0.25, 1]), st.booleans())
def test_a_turn_is_the_first_look_with_half_of_the_change(curves, least, relative):
    steps = [0, 1, *(10 * k for k in range(2, len(curves)))]
    for level in (0.5, 0.25, 1.0):
        found = measures.turn(steps, curves, (1, 20), least=least, relative=relative, level=level)
        expected = [by_hand(steps, c, 1, 20, least, relative, level) for c in zip(*curves, strict=True)]
        assert found.dtype == np.float64 and found.T.tolist() == expected
    alone = measures.turn(steps, [row[0] for row in curves], (1, 20), least=least, relative=relative)
    assert alone.shape == (2,)


@given(st.lists(eighths, min_size=5, max_size=9), st.sampled_from([-4.0, -1.0, 0.5, 8.0]))
def test_a_turn_knows_no_unit_and_no_direction(curves, unit):
    steps, curves = 7 * np.arange(len(curves)), np.array(curves)
    found = measures.turn(steps, curves, (0, 7), least=0.25)
    np.testing.assert_array_equal(
        measures.turn(steps, unit * curves + 3, (0, 7), least=0.25 * abs(unit)), found
    )
    relative = [measures.turn(steps, c, (0, 7), least=0.5, relative=True) for c in (curves, unit * curves)]
    np.testing.assert_array_equal(*relative)


def test_a_curve_that_rises_turns_where_it_reaches_the_middle():
    steps = log_spaced(1000, 12)
    curve = torch.linspace(0, 1, len(steps)) ** 2
    middle = float(curve[0] + curve[-2]) / 2
    assert measures.turn(steps, curve, (0, 0), least=0.1)[1] == measures.first_reached(steps, curve, middle)


def test_nan_is_no_turn():
    curves = np.array([[0.0, 0, 1, 1, 1], [math.nan, 0, 1, 1, 1], [0, 0, 1, 1, math.nan]]).T
    found = measures.turn([0, 1, 2, 3, 4], curves, (0, 1), least=0.1)
    assert found.T.tolist() == [[1, 2], [4, math.inf], [4, math.inf]]


def test_turn_says_what_is_wrong():
    steps, curve = [0, 10, 20], [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match=r"expected steps \(T,\) in ascending order"):
        measures.turn(steps, curve[:2], (0, 10), least=0.1)
    with pytest.raises(ValueError, match=r"got plateau \(11, 19\) for steps 0 to 20, least 0.1, level 0.5"):
        measures.turn(steps, curve, (11, 19), least=0.1)
    for options in ({"least": -0.1}, {"least": math.nan}, {"least": 0.1, "level": 0.0}):
        with pytest.raises(ValueError, match=r"least of 0 or more and level in \(0, 1\]; got"):
            measures.turn(steps, curve, (0, 10), **options)


def test_first_reached_says_what_is_wrong():
    for steps, values in [([], []), ([0, 1], [1.0]), ([1, 0], [1.0, 1.0]), ([0, 0], [1.0, 1.0]), (3, 1.0)]:
        with pytest.raises(ValueError, match=r"expected steps \(T,\) in ascending order, at least one"):
            measures.first_reached(steps, values, 0.5)
    with pytest.raises(ValueError, match="the level is NaN"):
        measures.first_reached([0], [1.0], math.nan)

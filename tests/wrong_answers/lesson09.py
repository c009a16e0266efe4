"""Usual mistakes in the exercises of lesson 09, and the words by which each must be diagnosed."""

_SIDES = """
def both_sides(model, x):
    left = right = 0
    W, gx, gw = model[0].weight, [], []
    for sample in x:
        sample = sample.clone().requires_grad_()
        a, b = torch.autograd.grad(model(sample)[0], [sample, W])
        gx.append(a), gw.append(b)
    gx, gw, shortest = torch.stack(gx), torch.stack(gw), x.norm(dim=1).min()
    left = gx.square().sum(1).mean()
    mean = gw.square().sum((1, 2)).mean()
    right = W.square().sum() / shortest**2 * mean
    {change}
    return left.item(), right.item()
"""


def _sides(change: str) -> str:
    return _SIDES.format(change=change)


def _share(where: str) -> str:
    return f"""
said, known = check.class_table(seed=CLASS_SEED)
same, off = said == said.T, ~torch.eye(len(said), dtype=torch.bool)
where = {where}
agreement = same[where].double().mean().item()
"""


WRONG = {
    "09-lemma": [
        ("mean before the square", _sides("left = gx.mean(0).square().sum()"),
         r"averaged the gradients before"),
        ("not squared", _sides("left = gx.norm(dim=1).mean()"), r"square each length before the mean"),
        ("spectral norm", _sides("right = torch.linalg.matrix_norm(W, 2)**2 / shortest**2 * mean"),
         r"the lemma has the Frobenius norm"),
        ("mean length", _sides("right = W.square().sum() / x.norm(dim=1).mean()**2 * mean"),
         r"the shortest input belongs there, not the mean"),
        ("each its own length", _sides("right = W.square().sum() * (gw.square().sum((1, 2))"
                                       " / x.square().sum(1)).mean()"), r"divided each sample by its own"),
        ("exchanged", _sides("left, right = right, left"), r"return left, then right"),
        ("no length", _sides("right = W.square().sum() * mean"), r"the shortest input is missing"),
        ("mean of the weight gradients", _sides(
            "right = W.square().sum() / shortest**2 * gw.mean(0).square().sum()"),
         r"you averaged the gradients before you squared"),
        ("all weights", """
def both_sides(model, x):
    left = mean = 0
    for sample in x:
        sample = sample.clone().requires_grad_()
        by_x, *rest = torch.autograd.grad(model(sample)[0], [sample, *model.parameters()])
        left += by_x.square().sum() / len(x)
        mean += sum(part.square().sum() for part in rest) / len(x)
    return left.item(), (model[0].weight.square().sum() / x.norm(dim=1).min() ** 2 * mean).item()
""", r"you took that in all weights of the network"),
        ("with its bias", """
def both_sides(model, x):
    left = mean = 0
    for sample in x:
        sample = sample.clone().requires_grad_()
        by_x, *rest = torch.autograd.grad(model(sample)[0], [sample, *model[0].parameters()])
        left += by_x.square().sum() / len(x)
        mean += sum(part.square().sum() for part in rest) / len(x)
    return left.item(), (model[0].weight.square().sum() / x.norm(dim=1).min() ** 2 * mean).item()
""", r"you took that in its bias as well"),
        ("mean of the outputs", """
def both_sides(model, x):
    x = x.clone().requires_grad_()
    by_x, by_weight = torch.autograd.grad(model(x).mean(), [x, model[0].weight])
    return by_x.square().sum(1).mean(), by_weight.square().sum()
""", r"differentiated the mean of the outputs"),
        ("sum of the outputs", """
def both_sides(model, x):
    x = x.clone().requires_grad_()
    by_x, by_weight = torch.autograd.grad(model(x).sum(), [x, model[0].weight])
    right = model[0].weight.square().sum() / x.norm(dim=1).min() ** 2 * by_weight.square().sum() / len(x)
    return by_x.square().sum(1).mean().item(), right.item()
""", r"differentiated the sum of the outputs"),
        ("length of all", _sides("right = W.square().sum() / x.norm()**2 * mean"), r"that of the whole x"),
        ("smallest entry", _sides("right = W.square().sum() / (x**2).min() * mean"), r"smallest entry of x"),
        ("one number", "def both_sides(model, x):\n    return 1.0", r"should return two numbers"),
    ],
    "09-schedule": [
        ("the share left", "def schedule_end(first, last):\n    return last / first",
         r"the share of the noise that is left"),
        ("the fall", "def schedule_end(first, last):\n    return first - last", r"how far sigma falls"),
        ("upside down", "def schedule_end(first, last):\n    return 1 - first / last", r"upside down"),
        ("negative", "def schedule_end(first, last):\n    return 1 - last / first",
         r"an accuracy is not negative"),
    ],
    "09-symmetrised": [
        ("all mirrors", "def symmetrised(x, y):\n    return torch.cat([x, x.flip(1)]), torch.cat([y, y])",
         r"is there twice: its mirror was in the set|is there twice: it is its own mirror"),
        ("mirrors only", "def symmetrised(x, y):\n    alone = data.without_mirror(x)\n"
         "    return x[alone].flip(1), y[alone]", r"pairs you were given are missing"),
        ("nothing added", "def symmetrised(x, y):\n    return x, y", r"the mirror .* is missing"),
        ("labels of others", "def symmetrised(x, y):\n    alone = data.without_mirror(x)\n"
         "    return torch.cat([x, x[alone].flip(1)]), torch.cat([y, y[: alone.sum()].flip(0)])",
         r"has a wrong label"),
        ("pairs alone", "def symmetrised(x, y):\n    return torch.unique(torch.cat([x, x.flip(1)]), dim=0)",
         r"pairs and labels, got Tensor"),
        ("labels forgotten", "def symmetrised(x, y):\n    alone = data.without_mirror(x)\n"
         "    return torch.cat([x, x[alone].flip(1)]), y", r"the labels` should have shape"),
    ],
    "09-agreement": [
        ("with the diagonal", _share("~known & ~known.T"), r"the pairs \(a, a\) are in it"),
        ("hidden pairs", _share("~known & off"), r"the mirror of some was trained"),
        ("hidden pairs and the diagonal", _share("~known"), r"and the pairs \(a, a\) too"),
        ("one order hidden", _share("~(known & known.T) & off"), r"both orders must be hidden"),
        ("divided by all", _share("~known & ~known.T & off").replace("same[where]", "(same & where)"),
         r"divided by the whole table"),
        ("the test as published", _share("known"), r"the abelian test on training pairs"),
        ("mirror hidden", _share("known & ~known.T"), r"one of the two orders was trained"),
        ("disagreement", _share("~known & ~known.T & off").replace("==", "!="), r"the share that disagrees"),
        ("a number of pairs", _share("~known & ~known.T & off").replace(".double().mean()", ".sum()"),
         r"that is how many pairs agree"),
        ("both trained", _share("known & known.T & off"), r"trained in both orders"),
        ("rounded to a percent", _share("~known & ~known.T & off") + "agreement = round(agreement, 2)",
         r"`agreement` is not right"),
    ],
    "09-entropy": [
        ("rows not scaled", "def entropy(features):\n    R = features @ features.T\n    R = R / R.trace()\n"
         "    v = torch.linalg.eigvalsh(R).clamp(min=1e-12)\n    return -(v * v.log()).sum()",
         r"every row should have length 1"),
        ("bits", "def entropy(features):\n    z = features / features.norm(dim=1, keepdim=True)\n"
         "    v = torch.linalg.eigvalsh(z @ z.T / len(z)).clamp(min=1e-12)\n    return -(v * v.log2()).sum()",
         r"natural logarithm"),
        ("features for samples", "def entropy(features):\n"
         "    z = torch.nn.functional.normalize(features, dim=0).T\n"
         "    v = torch.linalg.eigvalsh(z @ z.T / len(z)).clamp(min=1e-12)\n    return -(v * v.log()).sum()",
         r"one row for each sample"),
        ("entry by entry", "def entropy(features):\n    z = features / features.norm(dim=1, keepdim=True)\n"
         "    R = z @ z.T / len(z)\n    return -(R * R.abs().log()).trace()", r"use the eigenvalues"),
        ("columns", "def entropy(features):\n    z = features / features.norm(dim=0)\n"
         "    v = torch.linalg.eigvalsh(z @ z.T / len(z)).clamp(min=0)\n    return -torch.xlogy(v, v).sum()",
         r"you scaled the columns"),
        ("not divided by n", "def entropy(features):\n    z = features / features.norm(dim=1, keepdim=True)\n"
         "    v = torch.linalg.eigvalsh(z @ z.T).clamp(min=1e-12)\n    return -(v * v.log()).sum()",
         r"R is to be divided by n"),
        ("zero times log zero", "def entropy(features):\n"
         "    z = features / features.norm(dim=1, keepdim=True)\n"
         "    v = torch.linalg.eigvalsh(z @ z.T / len(z)).round(decimals=9).abs()\n"
         "    return -(v * v.log()).sum()",
         r"holds nan|log of zero"),
        ("no minus", "def entropy(features):\n    z = features / features.norm(dim=1, keepdim=True)\n"
         "    v = torch.linalg.eigvalsh(z @ z.T / len(z)).clamp(min=1e-12)\n    return (v * v.log()).sum()",
         r"the sign is wrong"),
    ],
    "09-associativity": [
        ("all triples", "def associativity(answers, trained):\n"
         "    return (answers[answers] == answers[:, answers]).double().mean()",
         r"leave out those that use a trained pair"),
        ("inner steps only", "def associativity(answers, trained):\n"
         "    same = answers[answers] == answers[:, answers]\n"
         "    hidden = ~trained[:, :, None] & ~trained[None]\n    return same[hidden].double().mean()",
         r"the two outer steps may be trained"),
        ("outer steps only", "def associativity(answers, trained):\n"
         "    same = answers[answers] == answers[:, answers]\n"
         "    used = trained[answers] | trained[:, answers]\n    return same[~used].double().mean()",
         r"the two inner steps may be trained"),
        ("only where all four are trained", "def associativity(answers, trained):\n"
         "    same = answers[answers] == answers[:, answers]\n"
         "    used = trained[:, :, None] & trained[None] & trained[answers] & trained[:, answers]\n"
         "    return same[~used].double().mean()", r"one trained pair of the four"),
        ("divided by all", "def associativity(answers, trained):\n"
         "    same = answers[answers] == answers[:, answers]\n"
         "    used = trained[:, :, None] | trained[None] | trained[answers] | trained[:, answers]\n"
         "    return (same & ~used).double().mean()", r"divide by the hidden ones"),
        ("the share of triples", "def associativity(answers, trained):\n"
         "    used = trained[:, :, None] | trained[None] | trained[answers] | trained[:, answers]\n"
         "    return (~used).double().mean()", r"share of triples that use no trained pair"),
    ],
}  # fmt: skip

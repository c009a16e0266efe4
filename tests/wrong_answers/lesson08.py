"""Usual mistakes in the exercises of lesson 08, and the words by which each must be diagnosed."""

_LINEAR = """
def smallest_eps(W, b, x, y, norm):
    z = x @ W.T + b
    margins = z.gather(1, y[:, None]) - z
    p = {p}
    sizes = (W[y][:, None] - W).norm(p=p, dim=2)
    {change}
"""


def _linear(change: str, p: str = "1 if norm == 'linf' else 2") -> str:
    return _LINEAR.format(change=change, p=p)


_USUAL = "return (margins / sizes).scatter(1, y[:, None], torch.inf).min(dim=1).values.clamp(min=0)"

_STEP = """
def pgd_step(model, x, y, x_adv, eps, step_size):
    x_adv = x_adv.detach().requires_grad_()
    z = model({at})
    rivals = z.scatter(1, y[:, None], -torch.inf)
    loss = {loss}
    (gradient,) = torch.autograd.grad(loss.sum(), {at})
    x_adv = x_adv.detach()
    moved = {moved}
    return {back}
"""
_MARGIN = "rivals.max(dim=1).values - z.gather(1, y[:, None])[:, 0]"


def _step(
    at: str = "x_adv",
    loss: str = _MARGIN,
    moved: str = "x_adv + step_size * gradient.sign()",
    back: str = "moved.clamp(x - eps, x + eps).clamp(0, 1)",
) -> str:
    return _STEP.format(at=at, loss=loss, moved=moved, back=back)


_CHECKS = """
def failed_checks(model, x, y, eps):
    def left(attack=attacks.pgd, eps=eps, **options):
        return attacks.robust_accuracy(model, x, y, eps, attack=attack, generator=seeded(0), **options)

    margin = left()
    failed = {
        "zero gradient": (margin_gradient(model, x, y) == 0).all(dim=1).float().mean() > 0.1,
        "usual attack": left(loss="plain_cross_entropy") >= margin + 0.1,
        "random search": left(attacks.square, steps=300) <= margin - 0.1,
        "huge eps": left(eps=1.0) > 0.1,
    }
"""

_UNIVERSAL = """
def universal(model, x, y, eps):
    delta = torch.zeros(x.shape[1])
    for _ in range(50):
        delta.requires_grad_()
        loss = F.cross_entropy(model((x + delta).clamp(0, 1)), y)
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = {step}
    return delta
"""


def _far(seed: int, number: str) -> str:
    """An answer of another class: one number of all distances."""
    return f"""
CLASS_SEED = {seed}
model, digits, labels = check.class_network(seed=CLASS_SEED)
away = attacks.adversarial_distance(model, digits, labels, norm="l2", generator=seeded(0))
median = {number}.item()
"""


WRONG = {
    "08-linear": [
        ("norms exchanged", _linear(_USUAL, "2 if norm == 'linf' else 1"), r"the formula of the other norm"),
        (
            "largest coordinate",
            _linear(_USUAL, "float('inf') if norm == 'linf' else 2"),
            r"divide by the sum of",
        ),
        (
            "negative where wrong",
            _linear(_USUAL.replace(".clamp(min=0)", "")),
            r"has distance 0, not a negative",
        ),
        (
            "the strongest rival",
            _linear(
                "k = margins.scatter(1, y[:, None], torch.inf).argmin(1, keepdim=True)\n"
                "    return (margins / sizes).gather(1, k)[:, 0].clamp(min=0)"
            ),
            r"divide first, then take the smallest",
        ),
        (
            "not divided",
            _linear("return margins.scatter(1, y[:, None], torch.inf).min(dim=1).values.clamp(min=0)"),
            r"that is the margin itself",
        ),
        (
            "one row of weights",
            _linear(
                "m = margins.scatter(1, y[:, None], torch.inf).min(dim=1).values\n"
                "    return (m / W[y].norm(p=p, dim=1)).clamp(min=0)"
            ),
            r"difference of two rows",
        ),
        (
            "the class itself is a rival",
            _linear("return (margins / sizes).min(dim=1).values"),
            r"holds nan at index",
        ),
        ("no shift", _linear(_USUAL).replace("x @ W.T + b", "x @ W.T"), r"b is missing"),
        (
            "the furthest",
            _linear(
                "return (margins / sizes).scatter(1, y[:, None], -torch.inf).max(dim=1).values.clamp(min=0)"
            ),
            r"the formula of the other|the furthest rival|has distance 0|is not right",
        ),
    ],
    "08-step": [
        ("downhill", _step(moved="x_adv - step_size * gradient.sign()"), r"it goes downhill"),
        ("not projected", _step(back="moved"), r"the step is not projected"),
        ("no bounds", _step(back="moved.clamp(x - eps, x + eps)"), r"pixels leave \[0, 1\]"),
        (
            "a ball that walks along",
            _step(back="moved.clamp(x_adv - eps, x_adv + eps).clamp(0, 1)"),
            r"round x, not round x_adv|brought back into the ball",
        ),
        ("no ball", _step(back="moved.clamp(0, 1)"), r"round x, not round x_adv|brought back into the ball"),
        ("no sign", _step(moved="x_adv + step_size * gradient"), r"l-infinity takes its sign"),
        (
            "the slope at x",
            _step(at="start").replace(
                "    z = model", "    start = x.clone().requires_grad_()\n    z = model"
            ),
            r"the slope is that at x",
        ),
        ("from x", _step(moved="x + step_size * gradient.sign()"), r"it should begin at x_adv"),
        (
            "the class is a rival",
            _step(loss="z.max(dim=1).values - z.gather(1, y[:, None])[:, 0]"),
            r"the right class is among the rivals",
        ),
        ("its own logit alone", _step(loss="-z.gather(1, y[:, None])[:, 0]"), r"at the logit of y alone"),
        ("cross-entropy", _step(loss="F.cross_entropy(z, y, reduction='none')"), r"step of cross-entropy"),
        ("eps for the step", _step(moved="x_adv + eps * gradient.sign()"), r"the length eps, not step_size"),
        (
            "gradients left behind",
            _step().replace(
                "(gradient,) = torch.autograd.grad(loss.sum(), x_adv)",
                "loss.sum().backward(); gradient = x_adv.grad",
            ),
            r"left gradients in the network's weights",
        ),
    ],
    "08-fake": [
        (
            "the gradient of cross-entropy",
            _CHECKS
            + """
    failed["zero gradient"] = attacks.zero_gradient_share(model, x, y) > 0.1
    return {name for name, fails in failed.items() if fails}
""",
            r'logits are multiplied by 1,000 does not fail "zero gradient"',
        ),
        (
            "search the wrong way round",
            _CHECKS
            + """
    failed["random search"] = left(attacks.square, steps=300) >= margin - 0.1
    return {name for name, fails in failed.items() if fails}
""",
            r'an honest network does not fail "random search"',
        ),
        (
            "huge eps is 0.5 below",
            _CHECKS
            + """
    failed["huge eps"] = left(eps=1.0) > 0.99
    return {name for name, fails in failed.items() if fails}
""",
            r'a network that rounds its inputs fails "huge eps", and you did not notice',
        ),
        (
            "the usual attack is not asked",
            _CHECKS
            + """
    return {name for name, fails in failed.items() if fails and name != "usual attack"}
""",
            r'fails "usual attack", and you did not notice',
        ),
        ("everything is suspicious", _CHECKS + "    return set(failed)", r"an honest network does not fail"),
        ("numbers instead of names", _CHECKS + "    return failed", r"should return a set of names"),
        ("another name", _CHECKS + "    return {'gradient'}", r"unknown names \['gradient'\]"),
    ],
    "08-universal": [
        (
            "noise",
            "def universal(model, x, y, eps):\n"
            "    return eps * torch.randn(x.shape[1], generator=seeded(0)).sign()",
            r"under noise",
        ),
        ("nothing", "def universal(model, x, y, eps):\n    return torch.zeros(x.shape[1])", r"under noise"),
        (
            "downhill",
            _UNIVERSAL.format(step="(delta.detach() - eps / 10 * gradient.sign()).clamp(-eps, eps)"),
            r"you went downhill|under noise",
        ),
        (
            "too large",
            _UNIVERSAL.format(step="delta.detach() + eps / 10 * gradient.sign()"),
            r"an entry of delta has the size",
        ),
        (
            "one for each",
            "def universal(model, x, y, eps):\n    return attacks.pgd(model, x, y, eps).x_adv - x",
            r"should have shape \(64,\), got \(400, 64\)",
        ),
        (
            "for one image",
            "def universal(model, x, y, eps):\n"
            "    found = attacks.pgd(model, x[:1], y[:1], eps, early_stop=False, generator=seeded(0))\n"
            "    return (found.x_adv - x[:1])[0]",
            r"climb the loss of all images together",
        ),
    ],
    "08-median": [
        *[
            (f"the mean, class {seed}", _far(seed, "away.mean()"), r"the mean over the images")
            for seed in range(4)
        ],
        *[
            (
                f"without the wrong ones, class {seed}",
                _far(seed, "away[away > 0].median()"),
                r"already have the distance 0",
            )
            for seed in range(1, 4)
        ],
        (
            "l-infinity",
            "model, digits, labels = check.class_network(seed=CLASS_SEED)\n"
            "away = attacks.adversarial_distance(model, digits, labels, generator=seeded(0))\n"
            "median = away.median().item()",
            r"the largest coordinate",
        ),
        (
            "right images only",
            "model, digits, labels = check.class_network(seed=CLASS_SEED)\n"
            "away = attacks.adversarial_distance(model, digits, labels, norm='l2', generator=seeded(0))\n"
            "median = away[away > 0].median().item()",
            r"images that are wrong already have the distance 0",
        ),
        ("far too small", "median = 0.01", r"`median` is not right"),
        ("no number", "median = 'near'", r"should hold real numbers"),
    ],
}

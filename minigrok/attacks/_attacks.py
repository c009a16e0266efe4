"""The attacks themselves: each is a walk from a start in the ball to a point that fools the network."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minigrok.attacks._ball import Ball
from minigrok.attacks._checks import Bounds, check_counts, check_step_size, losses_of
from minigrok.attacks._follow import Attack, Plan, Samples, Walk, pick, run_plan
from minigrok.attacks._net import Net, borrowed


def fgsm(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    *,
    bounds: Bounds = (0.0, 1.0),
    loss: str = "margin",
    early_stop: bool = True,
    batch_size: int | None = None,
) -> Attack:
    """The fast gradient sign method: one step of length eps in every coordinate.

        x_adv = clamp(x + eps sign(grad_x loss), bounds)

    It is `pgd` with one step of size eps and no random start. A sample that the network gets wrong to begin
    with is a success as it is, with x_adv = x (`early_stop=False` moves those too).

    Args, Raises: as for `pgd`.

    Source: Goodfellow, Shlens & Szegedy 2015 (arXiv 1412.6572), section 4.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(2, 2)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, -2.0], [0.0, 0.0]])), model.bias.data.zero_()
        >>> fgsm(model, torch.tensor([[0.75, 0.25]]), torch.tensor([0]), eps=0.125).x_adv
        tensor([[0.6250, 0.3750]])

    Used in lesson 08.
    """
    options = {"steps": 1, "random_start": False, "loss": loss, "bounds": bounds}
    # A step longer than eps ends where a step of eps does, on the border of the ball.
    return pgd(model, x, y, eps, early_stop=early_stop, batch_size=batch_size, **options)


def pgd(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    *,
    norm: str = "linf",
    steps: int = 20,
    step_size: float | None = None,
    loss: str | Sequence[str] = "margin",
    restarts: int = 1,
    random_start: bool = True,
    bounds: Bounds = (0.0, 1.0),
    generator: torch.Generator | None = None,
    early_stop: bool = True,
    batch_size: int | None = None,
) -> Attack:
    """Projected gradient descent: walk uphill on the loss, and after each step back into the ball around x.

        x_0 = x + uniform noise in the ball
        x_{k+1} = project(x_k + step_size * direction(grad_x loss(f(x_k), y)))

    For norm "linf" the ball is |x_adv - x| <= eps in every coordinate and the direction sign(gradient); for
    "l2" it is ||x_adv - x||_2 <= eps and gradient / ||gradient||_2. Every x_k also lies within `bounds`.

    With z the logits and w the strongest wrong class, the losses and their slopes at the logits are

        margin                z_w - z_y                          onehot(w) - onehot(y)
        cross_entropy         log sum_{j != y} e^{z_j} - z_y     softmax over j != y, minus onehot(y)
        dlr                   (z_w - z_y) / (z_(1) - z_(3))      z_(k): the k-th largest logit
        plain_cross_entropy   -log softmax(z)_y                  softmax(z) - onehot(y)

    The second grows with the fourth, and its slope points where the fourth's does: they would lead the same
    way if numbers had endless digits. As commonly written, with float32, the fourth's slope is exactly 0
    once the network is sure enough of itself, and the attack stands still. It is kept to show how it fails.
    No loss is the strongest on all networks: the margin often is on those trained with squared error, the
    cross-entropy on those trained with it. `restarts=2, loss=("margin", "cross_entropy")` takes both.

    Args:
        model: (N, ...) -> logits (N, C). It comes back as it was: modes, weights, gradients, requires_grad.
        x: (N, ...) float32 or float64, within bounds.
        y: (N,) int64, the right labels, 0 to C - 1.
        eps: radius of the ball in units of the input (of a pixel in [0, 1]), or (N,), one for each sample.
        steps: number of gradient steps.
        step_size: length of a step, default 2.5 * eps / steps (Madry et al. 2018, section 5).
        loss: one of the four, or several: then the restarts take turns with them.
        restarts: how often to start from new noise; only samples not yet fooled start again.
        random_start: False begins at x itself.
        bounds: the smallest and largest value an input can have.
        generator: draws the starts (default: torch's own generator).
        early_stop: leave a sample as soon as it is fooled, with x_adv the first point that does (x itself
            where the network is wrong there). False takes all steps, and x_adv is the last point, as in
            other libraries; on the way back into the fold a sample may be lost that was fooled before.
        batch_size: how many samples go through the network at once. By default 32 images on a CPU, whose
            cache they then fit, else 1024.

    Returns:
        An `Attack`, on the device of x.

    Raises:
        ValueError: a model in training mode with dropout or batch norm; x outside bounds or of another dtype
            than the model; labels that do not fit; eps < 0 or larger than the whole range; steps < 1;
            logits that are NaN or infinite; a network no gradient comes through.
        TypeError: an `Ensemble`: attack its networks one by one, `ensemble[s]`.

    Source: Madry et al. 2018 (arXiv 1706.06083), section 2.1; margin: Carlini & Wagner 2017 (arXiv
    1608.04644), section V; dlr: Croce & Hein 2020 (arXiv 2003.01690), section 4.

    Example:
        >>> from minigrok import data, models, training
        >>> x, y = data.disc_and_ring(200)
        >>> model = models.mlp([2, 32, 2], generator=torch.Generator().manual_seed(0))
        >>> state = training.State(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
        >>> _ = training.train(training.classification_step(), state, steps=300, batches=lambda t: (x, y))
        >>> found = pgd(model, x, y, 0.2, bounds=(-2, 2), generator=torch.Generator().manual_seed(0))
        >>> bool((found.x_adv - x).abs().max() <= 0.2), found.x_adv.shape, found.success.dtype
        (True, torch.Size([200, 2]), torch.bool)

    Used in lessons 08, 10 and 13, and in the recording of lesson 14.
    """
    check_counts(steps=steps, restarts=restarts)
    check_step_size(step_size)
    if restarts > len(losses_of(loss)) and not random_start:
        raise ValueError("restarts without random_start would repeat the same walk: leave one of them out")

    def walk(net: Net, ball: Ball, y: Tensor, draw: torch.Generator) -> Walk:
        size = 2.5 * ball.eps / steps if step_size is None else torch.full_like(ball.eps, step_size)
        return _uphill(net, ball, y, ball.random(draw) if random_start else ball.x, steps, size)

    with borrowed(model, x, y, loss, bounds, batch_size) as net:
        plan = Plan(walk, restarts, random_start, early_stop)
        return run_plan(net, x, y, eps, norm, bounds, plan, generator)


def _uphill(net: Net, ball: Ball, y: Tensor, x_adv: Tensor, steps: int, step_size: Tensor) -> Walk:
    for _ in range(steps):
        logits, gradient = net.gradient(x_adv, y)
        going = yield x_adv, logits
        ball, y, x_adv, gradient, step_size = (t[going] for t in (ball, y, x_adv, gradient, step_size))
        x_adv = ball.project(torch.addcmul(x_adv, step_size, ball.direction(gradient)))
    yield x_adv, None


def apgd(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    *,
    norm: str = "linf",
    steps: int = 50,
    loss: str | Sequence[str] = "cross_entropy",
    restarts: int = 1,
    bounds: Bounds = (0.0, 1.0),
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attack:
    """PGD that finds its own step size: it begins with 2 eps and halves it where the loss stops growing.

        z       = project(x_k + eta * direction(grad_x loss))
        x_{k+1} = project(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1}))

    At checkpoints after 22 % of the steps, and then ever closer, eta is halved for each sample whose loss
    grew in less than 75 % of the steps since the last one, or whose best loss and eta have not changed; the
    walk then goes on from the best point so far.

    Args, Returns, Raises: as for `pgd`. The paper runs it once with cross-entropy and once with "dlr", which
    needs three classes: `restarts=2, loss=("cross_entropy", "dlr")`.

    Source: Auto-PGD of Croce & Hein 2020 (arXiv 2003.01690), section 3 and algorithm 1, but for the start,
    which here is uniform in the ball.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(2, 3)
        >>> apgd(model, torch.full((4, 2), 0.5), torch.tensor([0, 1, 2, 0]), 0.1, steps=10).x_adv.shape
        torch.Size([4, 2])

    Used in lessons 08 and 10, and in the recording of lesson 11.
    """
    check_counts(steps=steps, restarts=restarts)

    def walk(net: Net, ball: Ball, y: Tensor, draw: torch.Generator) -> Walk:
        return _adaptive(net, ball, y, ball.random(draw), steps)

    with borrowed(model, x, y, loss, bounds, batch_size) as net:
        return run_plan(net, x, y, eps, norm, bounds, Plan(walk, restarts), generator)


def _adaptive(net: Net, ball: Ball, y: Tensor, start: Tensor, steps: int) -> Walk:
    checkpoints, nothing = _checkpoints(steps), start.new_full((len(y),), -math.inf)
    s = Samples(ball=ball, y=y, x=start, before=start, eta=2 * ball.eps, last=-nothing, grew=0 * y)
    s.best, s.best_x, s.best_gradient = nothing, start, start
    s.best_then, s.halved = nothing, torch.ones_like(y, dtype=torch.bool)  # of the last checkpoint
    for k in range(steps + 1):
        s.logits, s.gradient = net.gradient(s.x, s.y)
        s.keep((yield s.x, s.logits))
        value = net.value(s.logits, s.y)
        better, s.grew, s.last = value > s.best, s.grew + (value > s.last), value
        s.best = s.best.maximum(value)
        s.best_x, s.best_gradient = pick(better, s.x, s.best_x), pick(better, s.gradient, s.best_gradient)
        if k == steps:
            break
        if k in checkpoints:
            # Too few steps went up, or nothing better was found with this step size.
            stuck = (s.grew < 0.75 * checkpoints[k]) | (~s.halved & (s.best <= s.best_then))
            s.eta = pick(stuck, s.eta / 2, s.eta)  # and back to the best point, without momentum
            s.x, s.before = pick(stuck, s.best_x, s.x), pick(stuck, s.best_x, s.before)
            s.gradient, s.last = pick(stuck, s.best_gradient, s.gradient), pick(stuck, s.best, s.last)
            s.halved, s.best_then, s.grew = stuck, s.best, 0 * s.grew
        z = s.ball.project(s.x + s.eta * s.ball.direction(s.gradient))
        ahead = z - s.x if k == 0 else 0.75 * (z - s.x) + 0.25 * (s.x - s.before)
        s.before, s.x = s.x, s.ball.project(s.x + ahead)
    yield s.best_x, None


def _checkpoints(steps: int) -> dict[int, int]:
    """After which steps to look at the step size, each with the number of steps since the last look."""
    percent = [0, 22]
    while percent[-1] < 100:
        percent.append(percent[-1] + max(percent[-1] - percent[-2] - 3, 6))
    at = sorted({math.ceil(part * steps / 100) for part in percent if part <= 100})
    return {now: now - last for last, now in zip(at[:-1], at[1:], strict=True)}


def square(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    *,
    steps: int = 500,
    restarts: int = 1,
    share: float = 0.8,
    image: tuple[int, int, int] | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attack:
    """Random search in the l-infinity ball: no gradient at all, so none that can mislead it.

    It begins with vertical stripes of x + eps and x - eps. Each step sets a random square (or what comes
    nearest to one) to x + eps or x - eps, one sign for each channel, and keeps the change where the margin
    z_w - z_y did not fall. The squares become smaller: they cover the share `share` of the picture at first,
    and half as much each time after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of the steps.

    Args:
        steps: number of squares tried, one forward pass each. Paper: up to 10,000.
        image: (channels, height, width) of x where x is flat (N, d), such as (1, 28, 28). Without it a flat
            x is one row of pixels, and a square a stretch of it.
        model, x, y, eps, bounds, restarts, generator, batch_size: as for `pgd`.

    Returns, Raises: as for `pgd`; a network without gradients will do.

    Source: Square Attack of Andriushchenko et al. 2020 (arXiv 1912.00049), section 3 (l-infinity).

    Example:
        >>> steep = lambda x: torch.stack([(10 * x[:, 0]).round(), 10 * x[:, 1]], dim=1)  # flat in x_0
        >>> square(steep, torch.tensor([[0.58, 0.5]]), torch.tensor([0]), 0.2, steps=20).success
        tensor([True])

    Used in lessons 08 and 10, and in the recording of lesson 11.
    """
    check_counts(steps=steps, restarts=restarts)
    if not 0 < share <= 1:
        raise ValueError(f"share of the picture must be above 0 and at most 1, got {share}")

    def walk(net: Net, ball: Ball, y: Tensor, draw: torch.Generator) -> Walk:
        return _squares(net, ball, y, _Brush(ball.x, image, share, draw), steps)

    with borrowed(model, x, y, "margin", bounds, batch_size) as net:
        return run_plan(net, x, y, eps, "linf", bounds, Plan(walk, restarts), generator)


def _squares(net: Net, ball: Ball, y: Tensor, brush: "_Brush", steps: int) -> Walk:
    start = ball.corner(brush.stripes(ball))
    s = Samples(ball=ball, y=y, x=start, trial=start, best=start.new_full((len(y),), -math.inf))
    for k in range(steps):
        if k:
            inside, signs = brush.square(s.ball, k / steps)
            s.trial = torch.where(inside, s.ball.corner(signs), s.x)
        s.logits = net.logits(s.trial)
        s.keep((yield s.trial, s.logits))
        value = net.value(s.logits, s.y)
        s.x, s.best = pick(value >= s.best, s.trial, s.x), s.best.maximum(value)
    yield s.x, None


class _Brush:
    """Draws the stripes and squares of `square`: signs +1 and -1, and where they go, in the shape of x."""

    def __init__(self, x: Tensor, image: tuple[int, int, int] | None, share: float, draw: torch.Generator):
        shape = tuple(x.shape[1:])
        self.image = image or (shape if len(shape) == 3 else (1, 1, math.prod(shape)))
        if len(self.image) != 3 or math.prod(self.image) != math.prod(shape):
            raise ValueError(
                f"image={self.image} does not hold the {math.prod(shape)} numbers of a sample as "
                "(channels, height, width)"
            )
        self.share, self.draw = share, draw

    def stripes(self, ball: Ball) -> Tensor:
        return self._spread(self._coins(ball, self.image[0], 1, self.image[2]), ball)

    def square(self, ball: Ball, progress: float) -> tuple[Tensor, Tensor]:
        channels, height, width = self.image
        halvings = sum(progress > part for part in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8))
        area = self.share / 2**halvings * height * width
        high = min(height, max(1, round(area**0.5)))
        wide = min(width, max(1, round(area / high)))
        inside = self._stretch(ball, height, high)[:, None, :, None]
        inside = inside & self._stretch(ball, width, wide)[:, None, None, :]
        return self._spread(inside, ball), self._spread(self._coins(ball, channels, 1, 1), ball)

    def _stretch(self, ball: Ball, size: int, length: int) -> Tensor:
        """Which of `size` places lie in a random stretch, (n, size)."""
        begin = ball.drawn(lambda n, **how: torch.randint(size - length + 1, (n, 1), **how), self.draw)
        place = torch.arange(size, device=begin.device)
        return (place >= begin) & (place < begin + length)

    def _coins(self, ball: Ball, *shape: int) -> Tensor:
        return ball.drawn(lambda n, **how: torch.randint(2, (n, *shape), **how), self.draw) * 2 - 1

    def _spread(self, signs: Tensor, ball: Ball) -> Tensor:
        return signs.expand(-1, *self.image).reshape(ball.x.shape)

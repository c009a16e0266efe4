"""What is asked of the provers, in public: certificates, disjoint patterns, the largest certified ball."""

import operator
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
import torch
from torch import Tensor, nn

from minigrok._support import check_tensor, with_float64
from minigrok.naps import NAP, _check_fits, clashes
from minigrok.networks import Network
from minigrok.verify import _cascade, _marabou
from minigrok.verify._affine import balanced, network_of, read
from minigrok.verify._bounds import Region
from minigrok.verify._cascade import GOAL, LATE, SLACK, TIE, Found, Question

Model = nn.Module | Network


@dataclass(frozen=True)
class Certificate:
    """The answer to "can an input of this region be classified otherwise?".

    `status` is "verified" (no), "falsified" (yes: `counterexample`), "unknown" (not decided in time, or
    closer to a tie than the solver can tell), or "empty" (the region has no input, so there is nothing to
    say). `margin` is output of the rival less that of the label: at the counterexample, or the proved upper
    bound over the region and all rivals (inf where nothing was proved, NaN for "empty"). `stage` names what
    decided: "bounds", "lp", "walk", "milp" or "marabou"; or "start", where an input that was given (`start`,
    or the center) follows both patterns of `certify_disjoint`.
    """

    status: str
    counterexample: Tensor | None = None  # of the shape and dtype of the model's input, without a batch axis
    rival: int | None = None
    margin: float = float("inf")
    stage: str = ""
    seconds: float = 0.0
    note: str = ""

    def __repr__(self) -> str:
        against = "" if self.rival is None else f" against {self.rival}"
        note = f" ({self.note})" if self.note else ""
        margin = "" if self.status == "empty" else f", margin {self.margin:.3g}"
        return f"{self.status}{against} by {self.stage or 'nothing'}{margin}, {self.seconds:.3f} s{note}"


def certify(
    model: Model,
    label: int,
    *,
    nap: NAP | None = None,
    center: Tensor | None = None,
    eps: float | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    rivals: Iterable[int] | int | None = None,
    tol: float = 1e-6,
    timeout: float = 60.0,
    start: Tensor | None = None,
    input_shape: tuple[int, ...] | None = None,
    solver: str = "cascade",
) -> Certificate:
    """Prove that a network gives a label everywhere on a region, or find an input where it does not.

    The region is the box `bounds`, cut with the ball |x - center| <= eps (l-infinity) if there is one, and
    with the inputs that follow `nap` if there is one. Asked is whether

        output_label(x) > output_r(x)    for every x of the region and every rival r.

    "Verified" means: in float64 arithmetic, and within the tolerances of the solver (1e-7 or so), the label
    leads by at least `tol` everywhere on the closed region (units of the pattern may sit at zero). It is no
    proof in exact arithmetic. "Falsified" means: here is an input inside box and ball, which follows the
    pattern strictly and which the model itself, in its own precision, classifies otherwise. What lies
    between the two (a tie within `tol`, a counterexample only on the pattern's very border) is "unknown".

    Args:
        model: a ReLU network in eval mode; or `networks.trace(model)`, which saves reading it anew (5 ms)
            where many questions are asked of one network. A counterexample is then checked on the traced
            network, which gives the model's outputs up to rounding.
        label: the class that should win.
        nap: a pattern of `naps`; None for none.
        center, eps: the ball; center (*input_shape), eps in units of the input. Both or none.
        bounds: least and largest value of every input, the box.
        rivals: the class or the classes that should lose; None for all others.
        tol: in units of the output.
        timeout: seconds for the whole question.
        start: (k, *input_shape) inputs that are likely to follow the pattern, samples of the class say; not
            needed, but a walk begins sooner there.
        input_shape: of one sample, where neither center nor start shows it and the model is a CNN.
        solver: "cascade" (bounds, walk, LP, MILP with HiGHS) or "marabou" (needs maraboupy).

    Returns:
        A `Certificate`. "empty": the region has no input, so nothing was proved about the network.

    Raises:
        ValueError: a network with units other than ReLU, a label or rival that is no output, a pattern of
            another network, a ball without centre or radius, a centre outside the box, another solver.

    Source: Geng et al. 2023, "Towards Reliable Neural Specifications", sec. 3; the linear relaxation is that
    of Ehlers 2017, "Formal verification of piece-wise linear feed-forward neural networks".

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
        >>> with torch.no_grad():  # units max(x, 0) and max(x - 0.5, 0); class 0 leads by 0.6 - x, then 0.1
        ...     _ = net[0].weight.fill_(1), net[0].bias.copy_(torch.tensor([0, -0.5]))
        ...     _ = net[2].weight.copy_(torch.tensor([[-1.0, 1], [0, 0]]))
        ...     _ = net[2].bias.copy_(torch.tensor([0.6, 0]))
        >>> certify(net, 0).status
        'verified'
        >>> certify(net, 1, center=torch.tensor([0.5]), eps=0.1).status
        'falsified'

    Used in lesson 13, and in the recording of lesson 14.
    """
    begin = time.perf_counter()
    _check_solver(solver)
    question = _question(model, [nap] if nap else [], center, eps, bounds, tol, timeout, start, input_shape)
    prove = _cascade.certify if solver == "cascade" else _by_marabou
    found = prove(question, *_label_and_rivals(label, rivals, question.network.n_out))
    return _certificate(found, begin)


def certify_disjoint(
    model: Model,
    nap_a: NAP,
    nap_b: NAP,
    *,
    center: Tensor | None = None,
    eps: float | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    tol: float = 1e-6,
    timeout: float = 60.0,
    start: Tensor | None = None,
    input_shape: tuple[int, ...] | None = None,
    solver: str = "cascade",
) -> Certificate:
    """Prove that no input of a region follows two patterns at once, or find one that does.

    Arguments are those of `certify`. "Verified": no input follows both (the patterns are unambiguous);
    "falsified": `counterexample` follows both; "empty": one of the patterns has no input on the region
    anyway, and the note says which.

    Raises:
        ValueError: patterns of another network; what `certify` refuses.

    Source: Geng et al. 2023, "Towards Reliable Neural Specifications", sec. 3 (non-ambiguity).

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
        >>> with torch.no_grad():
        ...     _ = net[0].weight.fill_(1), net[0].bias.copy_(torch.tensor([-0.7, -0.3]))
        >>> first, second = (torch.tensor([True, False]), torch.tensor([False, True]))
        >>> none = torch.zeros(2, dtype=torch.bool)
        >>> right, left = NAP((first,), (none,)), NAP((none,), (second,))  # x > 0.7, x <= 0.3
        >>> certify_disjoint(net, right, left).status
        'verified'

    Used in lesson 13.
    """
    begin = time.perf_counter()
    _check_solver(solver)
    question = _question(model, [], center, eps, bounds, tol, timeout, start, input_shape)
    inside = _cascade.inside if solver == "cascade" else _inside_by_marabou

    def ask(*patterns: NAP) -> Found:
        return inside(replace(question, phases=_phases(question.network, patterns)))

    both = Found("empty", "bounds") if clashes(nap_a, nap_b) else ask(nap_a, nap_b)
    if both.status == "inside":
        return _certificate(replace(both, status="falsified"), begin)
    if both.status == "unknown":
        return _certificate(both, begin)
    for name, nap in (("nap_a", nap_a), ("nap_b", nap_b)):
        alone = ask(nap)
        if alone.status == "empty":
            return _certificate(replace(alone, note=f"no input follows {name} alone"), begin)
        if alone.status == "unknown":
            note = f"no input follows both, but none was found that follows {name} either: {alone.note}"
            return _certificate(replace(alone, note=note), begin)
    return _certificate(replace(both, status="verified"), begin)


@dataclass(frozen=True)
class LargestEps:
    """The largest certified ball, as a bracket.

    Every ball up to `eps` is certified; at `refuted` there is a counterexample (inf: none was found). Between
    the two lies what the bisection did not resolve, or, if `unknown`, what the prover could not decide.
    """

    eps: float
    refuted: float
    counterexample: Tensor | None
    unknown: bool
    calls: int
    seconds: float


def largest_eps(
    model: Model,
    label: int,
    center: Tensor,
    *,
    nap: NAP | None = None,
    high: float = 0.5,
    precision: float = 1e-3,
    bounds: tuple[float, float] = (0.0, 1.0),
    rivals: Iterable[int] | int | None = None,
    tol: float = 1e-6,
    timeout: float = 10.0,
    solver: str = "cascade",
) -> LargestEps:
    """The largest l-infinity ball around an input on which a label is proved, by bisection.

    Args:
        center: (*input_shape); it has to have the label, and to follow `nap`, or eps is 0.
        high: the largest radius that is tried.
        precision: the bisection ends when the bracket is this narrow.
        timeout: seconds for each radius; the other arguments are those of `certify`. A model is read once
            for all radii, and its own outputs check the counterexamples.

    Returns:
        A `LargestEps`. A counterexample nearer than the radius that was tried narrows the bracket at once.

    Raises:
        ValueError: high or precision not above 0; what `certify` refuses.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
        >>> with torch.no_grad():  # output 0 is max(x, 0), output 1 is max(0.5 - x, 0): they meet at 0.25
        ...     _ = net[0].weight.copy_(torch.tensor([[1.0], [-1]]))
        ...     _ = net[0].bias.copy_(torch.tensor([0, 0.5]))
        ...     _ = net[2].weight.copy_(torch.eye(2)), net[2].bias.zero_()
        >>> found = largest_eps(net, 0, torch.tensor([0.6]))
        >>> found.eps <= 0.35 <= found.refuted
        True

    Used in lesson 13.
    """
    begin = time.perf_counter()
    _check_solver(solver)
    if not (high > 0 and precision > 0):
        raise ValueError(f"expected high and precision above 0, got {high} and {precision}.")
    check_tensor(center, "a torch tensor as center")
    model, center = with_float64(model), center.detach()
    network = network_of(model, tuple(center.shape))
    label, rivals = _label_and_rivals(label, rivals, network.n_out)
    prove = _cascade.certify if solver == "cascade" else _by_marabou
    certified, refuted, upper, example, unknown, calls = 0.0, float("inf"), high, None, False, 0
    eps, patterns = 0.0, [nap] if nap else []
    while True:
        question = _question(network, patterns, center, eps, bounds, tol, timeout, None, None)
        found = prove(replace(question, model=model), label, rivals)
        calls += 1
        if found.status == "verified":
            certified = eps
        elif found.status == "falsified":
            example = found.x
            refuted = min(eps, float((example.double() - center.double()).abs().max()))
            upper, unknown = min(upper, refuted), False
        else:
            upper, unknown = eps, True
        if calls == 1 and found.status != "verified":  # wrong, or off its pattern, at the centre itself
            upper = 0.0
        if upper - certified <= (precision if calls > 1 else 0):
            break
        eps = high if calls == 1 else (certified + upper) / 2
        if calls > 1 and not certified < eps < upper:  # no number lies between the two
            break
    return LargestEps(certified, refuted, example, unknown, calls, time.perf_counter() - begin)


def unit_bounds(
    model: Model,
    *,
    center: Tensor | None = None,
    eps: float | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    input_shape: tuple[int, ...] | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """Between which numbers the pre-activation z of every unit stays on a box or ball: safe, not tight.

        least_j <= z_j(x) <= most_j    for every x of the region

    A unit with least >= 0 is on everywhere, one with most <= 0 off. The others are undecided, and their
    number says how hard a proof will be: each is a 0/1 variable of the mixed-integer program. It is the first
    stage of `certify`: intervals, then two lines round each undecided unit, carried back to the input.

    Args:
        model, center, eps, bounds, input_shape: as in `certify`.

    Returns:
        For each layer (least, most), two (units,) float64 on the CPU; exact for the first layer.

    Raises:
        ValueError: as in `certify`.

    Source: the bounds of CROWN (Zhang et al. 2018, "Efficient neural network robustness certification with
    general activation functions") and DeepPoly (Singh et al. 2019).

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2))
        >>> _ = net[0].weight.data.fill_(2), net[0].bias.data.fill_(-1)  # z = 2 x - 1
        >>> ((least, most),) = unit_bounds(net, center=torch.tensor([0.5]), eps=0.25)
        >>> least, most
        (tensor([-0.5000], dtype=torch.float64), tensor([0.5000], dtype=torch.float64))

    Used by experiments/image_proofs.py, the script of lesson 13.
    """
    question = _question(model, [], center, eps, bounds, 1.0, 0.0, None, input_shape)
    region = Region.of(read(question.network), question.low, question.high, question.phases)
    return [(torch.from_numpy(least), torch.from_numpy(most)) for least, most in region.bounds]


def _certificate(found: Found, begin: float) -> Certificate:
    margin = found.margin if found.status in ("verified", "falsified", "unknown") else float("nan")
    return Certificate(
        found.status, found.x, found.rival, margin, found.stage, time.perf_counter() - begin, found.note
    )


def _by_marabou(question: Question, label: int, rivals: list[int]) -> Found:
    """The same answers by another solver: a query for each rival, and one whether the region is empty."""
    inside = _inside_by_marabou(question)
    if inside.status == "empty":
        return inside
    note = inside.note
    for rival in rivals:
        direction = np.zeros(question.network.n_out)
        direction[rival], direction[label] = 1.0, -1.0
        status, x = _ask_marabou(question, (direction, question.tol))
        if status == "sat":  # at a tie, or on a wall, most likely: ask again for a clear counterexample
            points = [x, _ask_marabou(question, (direction, -GOAL), SLACK)[1]]
            for point in (p for p in points if p is not None):
                checked = question.counterexample(point, label, rival)
                if checked:
                    return Found("falsified", "marabou", checked[0], rival, checked[1])
        if status != "unsat":
            note = note or (LATE if status == "timeout" else TIE)
    if note:
        return Found("unknown", "", note=note)
    return Found("verified", "marabou", margin=-question.tol)


def _inside_by_marabou(question: Question) -> Found:
    for x in question.starts:
        if question.follows(x) is not None:
            return Found("inside", "start", question.follows(x))
    for slack in (SLACK, 0.0):
        status, x = _ask_marabou(question, None, slack)
        point = question.follows(x) if x is not None else None
        if point is not None:
            return Found("inside", "marabou", point)
    if status == "unsat":
        return Found("empty", "marabou")
    return Found("unknown", "", note=LATE if status == "timeout" else TIE)


def _ask_marabou(
    question: Question, objective: tuple[np.ndarray, float] | None, slack: float = 0.0
) -> tuple[str, np.ndarray | None]:
    left = question.left()
    if left <= 0:
        return "timeout", None
    region = question.maps, question.low, question.high, question.phases
    return _marabou.solve(*region, objective, timeout=left, slack=slack)


def _question(
    model: Model,
    patterns: list[NAP],
    center: Tensor | None,
    eps: float | None,
    bounds: tuple[float, float],
    tol: float,
    timeout: float,
    start: Tensor | None,
    input_shape: tuple[int, ...] | None,
) -> Question:
    begin = time.perf_counter()
    bounds = tuple(_number("each of bounds", bound) for bound in bounds)
    eps = None if eps is None else _number("eps", eps)
    _check_numbers(bounds, tol, timeout, center, eps)
    shape = _shape_shown(center, start) if input_shape is None else input_shape
    model = with_float64(model)
    network = network_of(model, shape)
    if network.dtype == torch.bfloat16:
        raise ValueError("NumPy, which checks the proofs, has no bfloat16. Convert the model with .float().")
    low, high = (np.full(int(np.prod(network.input_shape)), b) for b in bounds)
    if center is not None:
        at = _flat(network, center[None])[0]
        if (at < low - 1e-6).any() or (at > high + 1e-6).any():
            raise ValueError(
                f"expected a center inside bounds {bounds}, got values from {at.min():.4g} to "
                f"{at.max():.4g}. Give the bounds of your inputs."
            )
        low, high = np.maximum(low, at - eps), np.minimum(high, at + eps)
    starts = [] if start is None else [*_flat(network, start)]
    starts += [] if center is None else [at]
    phases = _phases(network, patterns)
    deadline = begin + timeout
    return Question(model, network, balanced(read(network)), low, high, phases, tol, deadline, starts)


def _shape_shown(center: Tensor | None, start: Tensor | None) -> tuple[int, ...] | None:
    """The shape of one sample, where center or start has it."""
    for name, given in (("center", center), ("start", start)):
        if given is not None:
            check_tensor(given, f"a torch tensor as {name}")
    if center is not None:
        return tuple(center.shape)
    return None if start is None else tuple(start.shape[1:])


def _flat(network: Network, x: Tensor) -> np.ndarray:
    return network.check_input(x).detach().flatten(1).double().cpu().numpy()


def _phases(network: Network, patterns: Iterable[NAP]) -> list[np.ndarray]:
    """+1, -1 or 0 for every unit, from patterns that do not contradict each other."""
    phases = [np.zeros(n, dtype=np.int8) for n in network.units]
    for nap in patterns:
        _check_fits(nap, network)
        for phase, active, inactive in zip(phases, nap.active, nap.inactive, strict=True):
            phase[active.numpy()], phase[inactive.numpy()] = 1, -1
    return phases


def _label_and_rivals(label: int, rivals: Iterable[int] | int | None, n_out: int) -> tuple[int, list[int]]:
    label = operator.index(label)
    if rivals is None:
        found = [r for r in range(n_out) if r != label]
    else:
        found = [operator.index(r) for r in ([rivals] if isinstance(rivals, Integral) else rivals)]
    for name, value in [("label", label), *(("rival", r) for r in found)]:
        if not 0 <= value < n_out:
            raise ValueError(f"expected {name} to be one of the outputs 0 to {n_out - 1}, got {value}.")
    if label in found or not found:
        raise ValueError(f"expected rivals other than the label {label}, got {found}.")
    return label, found


def _check_solver(solver: str) -> None:
    if solver not in ("cascade", "marabou"):
        raise ValueError(f"expected solver 'cascade' or 'marabou', got {solver!r}.")


def _number(name: str, value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"expected {name} to be one number for all inputs, got {value!r:.60}.") from error


def _check_numbers(
    bounds: tuple[float, float], tol: float, timeout: float, center: Tensor | None, eps: float | None
) -> None:
    low, high = bounds
    if not (np.isfinite([low, high]).all() and low <= high):
        raise ValueError(f"expected bounds (low, high) with low <= high, got {bounds}.")
    if not tol > 0:
        raise ValueError(f"expected tol above 0, got {tol}: a solver's numbers are not exact.")
    if not timeout >= 0:
        raise ValueError(f"expected a timeout of 0 seconds or more, got {timeout}.")
    if (center is None) != (eps is None):
        given, missing = ("center", "eps") if eps is None else ("eps", "center")
        raise ValueError(f"got {given} without {missing}: a ball needs both (none of them: the whole box).")
    if eps is not None and not (eps >= 0 and np.isfinite(eps)):
        raise ValueError(f"expected a finite eps of 0 or more, got {eps}.")

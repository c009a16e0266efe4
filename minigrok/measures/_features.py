"""What features tell: symmetry of the answers, spread and entropy of a layer, silent units."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from minigrok._support import check_tensor, to_float64


@torch.no_grad()
def commutativity(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The share of pairs for which a network gives the same answer to (a, b) and to (b, a).

        mean over pairs of   [ argmax f(a, b) = argmax f(b, a) ]

    Whether the answer is right plays no part. Two traps: on training pairs whose mirror is trained too it
    is 1 as soon as all is learnt by heart; and where one shared table is added up, f(a, b) = f(b, a)
    whatever was learnt. So measure on pairs whose mirror is in neither (`data.without_mirror`), with separate
    tables. Pairs (a, a) agree always.

    Args:
        model: x (N, 2) -> (N, outputs), or an `Ensemble`.
        x: (N, 2) int64, the pairs.

    Returns:
        (), or (S,) for an `Ensemble`; NaN where any output is NaN or infinite.

    Raises:
        ValueError: x that does not hold pairs.

    Source: the abelian test of Tan & Huang 2023 (arXiv 2311.06597), section 4.

    Example:
        >>> from torch import nn
        >>> left = lambda x: nn.functional.one_hot(x[:, 0], 3).float()  # answers a, never mind b
        >>> commutativity(left, torch.tensor([[0, 1], [2, 2], [1, 0], [2, 1]]))
        tensor(0.2500)

    Lesson 09 has the two traps, with the share written out by hand.
    """
    check_tensor(x, "a torch tensor of pairs")
    if x.dim() < 2 or x.shape[-1] != 2 or not x.shape[-2]:
        raise ValueError(f"expected pairs x (N, 2) with at least one pair, got shape {tuple(x.shape)}")
    there, back = model(x), model(x.flip(-1))
    share = (there.argmax(dim=-1) == back.argmax(dim=-1)).to(there.dtype).mean(dim=-1)
    finite = (there.isfinite() & back.isfinite()).all(dim=-1).all(dim=-1)
    return share.where(finite, torch.nan)


@torch.no_grad()
def gram(features: Tensor) -> Tensor:
    """The Gram matrix of a batch of features: the cosine between the features of every two samples.

        R = Z Z^T ,   with the rows of Z scaled to length 1

    Args:
        features: (N, d), or (S, N, d) of an `Ensemble`.

    Returns:
        (N, N) or (S, N, N), float64: symmetric, ones on the diagonal, no eigenvalue below 0.

    Raises:
        ValueError: fewer than 2 samples, NaN, or a sample whose features are all zero: it has no direction.

    Source: Tan & Huang 2023 (arXiv 2311.06597), section 5.

    Example:
        >>> gram(torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])).round(decimals=3)
        tensor([[1.0000, 0.0000, 0.7070],
                [0.0000, 1.0000, 0.7070],
                [0.7070, 0.7070, 1.0000]], dtype=torch.float64)

    Used in the recording of lesson 14.
    """
    _check_features(features)
    z = to_float64(features)
    lengths = z.norm(dim=-1, keepdim=True)
    if (lengths == 0).any():
        silent = (lengths[..., 0] == 0).nonzero().tolist()
        raise ValueError(
            f"the features of {len(silent)} samples are all zero (the first at {silent[0]}): they have no "
            "direction. Leave these samples out, or take the values before the ReLU."
        )
    z = z / lengths
    return z @ z.mT


@torch.no_grad()
def matrix_entropy(R: Tensor, alpha: float = 1.0) -> Tensor:
    """Matrix entropy: in how many directions a batch of features spreads, as a logarithm.

        H_alpha(R) = log tr((R/n)^alpha) / (1 - alpha) ,      H_1(R) = -tr((R/n) log(R/n))

    It is the entropy of the eigenvalues of R/n, which are shares: none is negative, and they add up to 1. It
    is 0 if all samples have one direction, and log n if all are orthogonal, so the batch must have the same
    n wherever two values are compared. H_1 is von Neumann's entropy, and H_2 = 2 log n - 2 log ||R||_F.

    Args:
        R: (..., n, n) from `gram`.
        alpha: above 0. 1 is the limit of the first formula; larger ones look more at the large eigenvalues.

    Returns:
        (...), float64, natural logarithm.

    Raises:
        ValueError: not a Gram matrix of unit vectors (not symmetric, diagonal not 1, a negative eigenvalue),
            NaN, alpha not above 0.

    Source: Tan & Huang 2023 (arXiv 2311.06597), section 5, after Sanchez Giraldo, Rao & Principe 2014.

    Example:
        >>> matrix_entropy(torch.eye(4)), matrix_entropy(torch.ones(4, 4)).abs() < 1e-12
        (tensor(1.3863, dtype=torch.float64), tensor(True))

    Used in the recording of lesson 14.
    """
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be a finite number above 0 (1 is von Neumann's entropy), got {alpha}")
    _check_gram(R)
    n = R.shape[-1]
    shares = torch.linalg.eigvalsh(to_float64(R)) / n
    if shares.min() < -_tolerance(R):
        raise ValueError(
            f"R has a negative eigenvalue ({shares.min() * n:.3g}), so it is not the Gram matrix of any "
            "features: make it with gram(features)"
        )
    # What is zero but for rounding is zero: small alphas would see it.
    shares = shares.where(shares > n * torch.finfo(torch.float64).eps, 0)
    if alpha == 1:
        return -torch.xlogy(shares, shares).sum(dim=-1)
    return shares.pow(alpha).sum(dim=-1).log() / (1 - alpha)


def mutual_information(R1: Tensor, R2: Tensor, alpha: float = 1.0) -> Tensor:
    """Matrix mutual information: what two sets of features of the same samples have in common.

        I(R1; R2) = H(R1) + H(R2) - H(R1 o R2) ,      o: entry by entry

    R1 o R2 is the Gram matrix of the pairs (products z1_i z2_i^T of the two features). For alpha = 1,
    0 <= I <= min(H(R1), H(R2)): it is the quantum mutual information of the mixture of these pairs. Of a
    thing with itself it is at most H(R), and equal to it where all features are either parallel or
    orthogonal.

    Args:
        R1, R2: (..., n, n) from `gram`, of the same samples in the same order.
        alpha: as in `matrix_entropy`.

    Returns:
        (...), float64, natural logarithm.

    Raises:
        ValueError: two shapes, and all that `matrix_entropy` refuses.

    Source: the definition of Tan & Huang 2023 (arXiv 2311.06597), section 5.

    Example:
        >>> mutual_information(torch.eye(4), torch.eye(4))
        tensor(1.3863, dtype=torch.float64)

    Used in the recording of lesson 14.
    """
    for R in (R1, R2):
        _check_gram(R)
    if R1.shape != R2.shape:
        raise ValueError(
            "expected two Gram matrices of the same samples, got shapes "
            f"{tuple(R1.shape)} and {tuple(R2.shape)}"
        )
    return matrix_entropy(R1, alpha) + matrix_entropy(R2, alpha) - matrix_entropy(R1 * R2, alpha)


@dataclass(frozen=True)
class PerturbationMeasures:
    """Entropy and mutual information of features under noise, and how far the noise has moved them.

    Each is () or, for an `Ensemble`, (S,), float64, natural logarithm.

    Attributes:
        pe: perturbed entropy, H of the later features of perturbed inputs.
        pmi: perturbed mutual information, I of first and later features of perturbed inputs.
        entropy, information: the same two of the inputs as they are.
    """

    pe: Tensor
    pmi: Tensor
    entropy: Tensor
    information: Tensor

    @property
    def ed(self) -> Tensor:
        """Entropy difference, |pe - entropy|. The signed one may pass through 0 while this one touches it."""
        return (self.pe - self.entropy).abs()

    @property
    def mid(self) -> Tensor:
        """Mutual information difference, |pmi - information|."""
        return (self.pmi - self.information).abs()


@torch.no_grad()
def perturbation_measures(
    first: Callable[[Tensor], Tensor],
    later: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    sigma: float,
    generator: torch.Generator | None = None,
    alpha: float = 1.0,
) -> PerturbationMeasures:
    """PE, PMI, ED and MID: what noise on the inputs does to the spread of a network's features.

        x' = x + noise ,  noise ~ N(0, sigma^2) for every number ,   z1 = first(.), z2 = later(.)
        PE  = H(R2')            ED  = |H(R2') - H(R2)|
        PMI = I(R1'; R2')       MID = |I(R1'; R2') - I(R1; R2)|

    R is the Gram matrix of the features, of x' where primed. z1 stands for the input, z2 for what the network
    makes of it. The paper gives no sign to the two differences; here they are absolute, and the signed ones
    are `pe - entropy` and `pmi - information`.

    Args:
        first: x -> features (N, d1) of the first layer. An `Ensemble`'s may be (S, N, d1).
        later: x -> features (N, d2) of a later layer.
        x: real vectors (N, ...): pixels; or the embeddings `model.embed(x)`, with `first` and `later`
            acting on these.
        sigma: standard deviation of the noise in units of x (the paper: 0.1 for pixels, 0.4 for embeddings).
        generator: where the noise comes from; None is torch's own generator.
        alpha: as in `matrix_entropy`.

    Returns:
        A `PerturbationMeasures`. One draw of noise and one batch: average over several. Values depend on
        N through log N, so compare at the same N.

    Raises:
        TypeError: x holds whole numbers. Noise on the number of a token means nothing.
        ValueError: sigma negative or NaN, and all that `gram` refuses.

    Source: Tan & Huang 2023 (arXiv 2311.06597), section 5.

    Example:
        >>> from torch import nn
        >>> first, later = nn.Linear(3, 8), nn.Sequential(nn.Linear(3, 8), nn.Tanh())
        >>> still = perturbation_measures(first, later, torch.randn(20, 3), sigma=0.0)
        >>> still.ed, still.mid
        (tensor(0., dtype=torch.float64), tensor(0., dtype=torch.float64))

    Used in lessons 09 and 14.
    """
    check_tensor(x, "a torch tensor of real vectors")
    if not x.is_floating_point():
        raise TypeError(
            f"noise needs real vectors, got x of {x.dtype}. For pairs of numbers hand in model.embed(x), and "
            "functions that act on embeddings."
        )
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma must be a finite number, 0 or more, in units of x; got {sigma}")
    device = "cpu" if generator is None else generator.device
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
    entropy, information = _entropy_and_information(first, later, x, alpha)
    pe, pmi = _entropy_and_information(first, later, x + sigma * noise, alpha)
    return PerturbationMeasures(pe, pmi, entropy, information)


def _entropy_and_information(
    first: Callable, later: Callable, x: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    R1, R2 = gram(first(x)), gram(later(x))
    return matrix_entropy(R2, alpha), mutual_information(R1, R2, alpha)


@torch.no_grad()
def sparsity(features: Tensor, *, tau: float = 0.0) -> Tensor:
    """The share of a batch's features that are silent: zero, as a ReLU makes them, or nearly so.

        mean over samples and features of   [ |z| <= tau ]

    Args:
        features: (N, d), or (S, N, d) of an `Ensemble`: the outputs of a layer of units.
        tau: up to where a feature counts as silent, in units of the features; 0 counts exact zeros alone.

    Returns:
        () or (S,), in the dtype of the features. 1 is a network whose units are all silent.

    Raises:
        ValueError: NaN, fewer than 2 samples, tau negative or NaN.

    Source: the activation sparsity of Golechha 2024 (arXiv 2405.12755), the share below a threshold tau that
    is not given there; the features of its ReLU networks are not negative.

    Example:
        >>> sparsity(torch.tensor([[0.0, 2.0], [0.0, 0.0]])), sparsity(torch.tensor([[0.1], [2.0]]), tau=0.5)
        (tensor(0.7500), tensor(0.5000))

    Used in lesson 16.
    """
    _check_features(features)
    if not tau >= 0:
        raise ValueError(f"tau must be 0 or more, in units of the features; got {tau}")
    return (features.abs() <= tau).to(features.dtype).mean(dim=(-2, -1))


def _tolerance(R: Tensor) -> float:
    return math.sqrt(torch.finfo(R.dtype).eps)


def _check_features(features: Tensor) -> None:
    check_tensor(features, "a torch tensor of features")
    if features.dim() < 2 or features.shape[-2] < 2 or not features.shape[-1]:
        raise ValueError(
            "expected features (N, d) of at least 2 samples (what is measured lies between samples), got "
            f"shape {tuple(features.shape)}; flatten images with .flatten(1)"
        )
    if not features.isfinite().all():
        raise ValueError("the features are NaN or infinite for some samples: the network has diverged")


def _check_gram(R: Tensor) -> None:
    check_tensor(R, "a torch tensor, a Gram matrix")
    if R.dim() < 2 or R.shape[-1] != R.shape[-2] or R.shape[-1] < 2 or not R.is_floating_point():
        raise ValueError(
            f"expected a Gram matrix (n, n) of floats with n of at least 2, got {R.dtype} {tuple(R.shape)}: "
            "make it with gram(features)"
        )
    off = (R.diagonal(dim1=-2, dim2=-1) - 1).abs().max()
    crooked = (R - R.mT).abs().max()
    if not (off <= _tolerance(R) and crooked <= _tolerance(R)):  # NaN is refused too
        raise ValueError(
            f"expected a symmetric matrix with ones on the diagonal, got a diagonal that is off by {off:.3g} "
            f"and a difference of {crooked:.3g} from the transpose: make it with gram(features)"
        )

"""The usual update of a classifier: three losses, their gradients, the accuracy, sets of different sizes."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigrok.training._ensemble import Ensemble
from minigrok.training._run import Batch, State


def classification_loss(logits: Tensor, y: Tensor, loss: str = "cross_entropy") -> Tensor:
    """The loss of a classifier, one number for each network.

        cross_entropy:  mean over samples of  -log softmax(logits)[y]
        squared_error:  mean over samples *and* classes of  (logits - onehot(y))^2
        stablemax:      mean over samples of  -log stablemax(logits)[y]

    The squared error is that of `nn.MSELoss` on one-hot labels, as in the code of Omnigrok (Liu et al. 2022)
    and of Humayun et al. 2024; summed over 10 classes it would be ten times as large.

    Args:
        logits: (N, C), or (S, N, C) of an `Ensemble`.
        y: (N,) int64 for all networks, or (S, N). Samples of label -1 are left out, the mean is over the
            rest: they fill up the sets of an ensemble whose networks train on different numbers (`padded`).

    Returns:
        () or (S,), differentiable.

    Raises:
        ValueError: an unknown loss.

    Example:
        >>> classification_loss(torch.zeros(5, 4), torch.arange(5) % 4)  # log(4)
        tensor(1.3863)
        >>> classification_loss(torch.zeros(3, 5, 4), torch.arange(5) % 4, "squared_error")
        tensor([0.2500, 0.2500, 0.2500])

    Used in lessons 02, 04, 07, 09 and 16, and in the recording of lesson 14.
    """
    _check_loss(loss)
    if loss == "cross_entropy" and logits.dim() == 2:
        return F.cross_entropy(logits, y, ignore_index=-1)
    y = y.expand(logits.shape[:-1])
    counts, y = (y >= 0).to(logits.dtype), y.clamp(min=0)
    if loss == "squared_error":
        each = (logits - F.one_hot(y, logits.shape[-1])).square().mean(dim=-1)
    elif loss == "stablemax":
        s = _stable(logits)
        each = s.sum(dim=-1).log() - s.take_along_dim(y[..., None], dim=-1)[..., 0].log()
    else:  # Classes first, as an Ensemble lays them out, the softmax takes many samples at once.
        each = -logits.mT.log_softmax(dim=-2).gather(-2, y[:, None])[:, 0]
    return (each * counts).sum(dim=-1) / counts.sum(dim=-1)


def classification_step(loss: str = "cross_entropy") -> Callable[[State, Batch], None]:
    """The usual `step` for `train`: one update of a classifier, or of an `Ensemble`, on a batch (x, y).

    The losses of an ensemble's networks (`classification_loss`) are summed, so none changes another's update.

    Args:
        loss: as in `classification_loss`.

    Raises:
        ValueError: an unknown loss; at the first step, no batch.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> state = State(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> step = classification_step("squared_error")
        >>> step(state, (torch.zeros(5, 2), torch.arange(5) % 3))

    Used in most lessons.
    """
    _check_loss(loss)

    def step(state: State, batch: Batch) -> None:
        if batch is None:
            raise ValueError("classification_step needs a batch: hand batches=lambda t: (x, y) to train")
        # Where the arithmetic is this fast, fresh memory for the gradients would take a tenth of the time.
        state.optimizer.zero_grad(set_to_none=not _by_formula(state.model, loss))
        classification_gradients(state.model, *batch, loss)
        state.optimizer.step()

    return step


def classification_gradients(model: nn.Module, x: Tensor, y: Tensor, loss: str = "cross_entropy") -> None:
    """Add the gradient of the (summed) `classification_loss` to every parameter's `.grad`.

    It is `classification_loss(model(x), y, loss).sum().backward()`. An `Ensemble` of adding `models.pair_mlp`
    with ReLU or Square and cross-entropy gets it from its own formula instead, a few networks at a time, so
    that what they compute stays in the processor's cache (bench/bench_grokking.py).

    Args:
        model: a network, or an `Ensemble`.
        x, y: the batch, as in `classification_loss`.
        loss: as there.

    Raises:
        ValueError: an unknown loss.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> classification_gradients(model, torch.ones(5, 2), torch.arange(5) % 3)
        >>> model.weight.grad.shape
        torch.Size([3, 2])

    Used in lesson 07, and in the recording of lesson 14.
    """
    if _by_formula(model, loss):
        model._add_gradients(x, y)
    else:
        classification_loss(model(x), y, loss).sum().backward()


def _by_formula(model: nn.Module, loss: str) -> bool:
    return isinstance(model, Ensemble) and loss == "cross_entropy" and model._has_formula()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The share of samples whose largest output is that of their label, one number for each network.

    Args:
        model: x -> outputs (N, C), or an `Ensemble`'s (S, N, C).
        x: (N, ...), or (S, N, ...) with a batch for each network.
        y: (N,) or (S, N) int64.

    Returns:
        () for a model, (S,) for an `Ensemble`; NaN where any output is NaN or infinite. Samples of label -1
        are left out, as in `classification_loss`.

    Raises:
        ValueError: another number of labels than outputs, or labels of another shape.

    Example:
        >>> accuracy(nn.Identity(), torch.eye(4), torch.tensor([0, 1, 2, 0]))
        tensor(0.7500)

    Used in most lessons.
    """
    logits = model(x)
    if y.shape not in (logits.shape[:-1], logits.shape[-2:-1]):  # or they would be compared all with all
        raise ValueError(
            f"expected a label for each of the outputs {tuple(logits.shape)}, y of shape "
            f"{tuple(logits.shape[-2:-1])}, got {tuple(y.shape)}"
        )
    right = logits.max(dim=-1).indices == y  # the index alone, argmax, takes several times as long
    share = right.sum(dim=-1).to(logits.dtype) / (y >= 0).sum(dim=-1)
    return share.where((logits * 0).sum(dim=(-2, -1)) == 0, torch.nan)  # 0 times NaN or infinity is NaN


def padded(sets: Sequence[Batch]) -> Batch:
    """Training sets of different sizes as one batch for an `Ensemble`, the shorter ones filled up.

    Args:
        sets: (x (n, ...), y (n,)) of each network.

    Returns:
        x (S, N, ...) and y (S, N) with N the longest set's size; what is filled up is zeros with label -1,
        which `classification_loss` and `accuracy` leave out.

    Example:
        >>> x, y = padded([(torch.ones(1, 2), torch.tensor([4])), (torch.ones(2, 2), torch.tensor([1, 3]))])
        >>> x.shape, y
        (torch.Size([2, 2, 2]), tensor([[ 4, -1],
                [ 1,  3]]))

    Used in lessons 14 and 16.
    """
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad([x for x, _ in sets], batch_first=True),
        pad([y for _, y in sets], batch_first=True, padding_value=-1),
    )


def _check_loss(loss: str) -> None:
    if loss not in ("cross_entropy", "squared_error", "stablemax"):
        raise ValueError(f"loss must be 'cross_entropy', 'squared_error' or 'stablemax', got {loss!r}")


def stablemax(logits: Tensor) -> Tensor:
    """Probabilities like softmax's, but with a slope in place of the exponential.

        stablemax(z)_i = s(z_i) / sum_j s(z_j) ,    s(z) = z + 1 where z >= 0,  1 / (1 - z) where z < 0

    In float32 a softmax is exactly 1 once the right logit is about 17 above all others: the loss of that
    sample and its gradient are then exactly 0 (Softmax Collapse). Here the share of the others falls like
    one over the logit instead, and no gradient is rounded away.

    Args:
        logits: (..., C), of a real dtype.

    Returns:
        (..., C), none below 0, adding up to 1 over the last axis. Differentiable.

    Source: Prieto et al. 2025 (arXiv 2501.04697). As a loss: `classification_loss(logits, y, "stablemax")`.

    Example:
        >>> stablemax(torch.tensor([3.0, 0.0, -1.0]))  # 4, 1 and 1/2 as shares of 5.5
        tensor([0.7273, 0.1818, 0.0909])

    In lesson 07 it is the loss of one run.
    """
    s = _stable(logits)
    return s / s.sum(dim=-1, keepdim=True)


def _stable(z: Tensor) -> Tensor:
    # Without torch.where, whose unused side would bring NaN into the gradient at z = 1. At z = 0 clamp's
    # slope is 1 and relu's 0: together the 1 that s has there.
    return z.clamp(min=0) + 1 / (1 + F.relu(-z))

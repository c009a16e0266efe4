"""Many `models.pair_mlp` at once, forward and back: sums of rows in place of products with one-hot codes."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minigrok.models import PairMLP


@dataclass
class Bags:
    """Which rows of a matrix are added up (`rows`, bag after bag), and where each bag begins."""

    rows: Tensor
    begins: Tensor
    n_rows: int  # of the matrix

    def reverse(self) -> "Bags":
        """For each row of the matrix the bags it is in: what the gradient of the sums adds up."""
        sizes = self.begins.diff(append=self.begins.new_tensor([len(self.rows)]))
        bag = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
        counts = torch.bincount(self.rows, minlength=self.n_rows)
        return Bags(bag[self.rows.argsort(stable=True)], counts.cumsum(0) - counts, len(sizes))


def bags_of_pairs(x: Tensor, model: PairMLP) -> Bags:
    """x (S, N, 2) -> the rows that each pair takes from all networks' tables laid end to end."""
    (seeds, n, two), p = x.shape, model.left.num_embeddings
    if two != 2:
        raise ValueError(f"expected pairs (N, 2), or (S, N, 2), got shape {tuple(x.shape[1:])}")
    if x.is_floating_point() or n and (x.min() < 0 or x.max() >= p):
        raise ValueError(
            f"expected pairs of whole numbers from 0 to {p - 1}, got {x.dtype}"
            + (f" from {x.min().item()} to {x.max().item()}" if n else "")
        )
    tables = 1 if model.left is model.right else 2
    first = torch.arange(seeds, device=x.device)[:, None, None] * (tables * p)
    rows = (x + first + torch.tensor([0, (tables - 1) * p], device=x.device)).flatten()
    each = 2 if model.combine == "add" else 1  # two bags of one row each, side by side, are concatenated
    return Bags(rows, torch.arange(0, len(rows), each, device=x.device), seeds * tables * p)


@dataclass
class _Chunk:
    """Some networks of an ensemble and their batches, for `add_gradients`."""

    networks: slice
    bags: Bags
    reverse: Bags
    y: Tensor  # (k, 1, N)
    weights: Tensor  # (k, 1, N), of each sample in the mean; 0 where it only fills up
    slope: Tensor | None = None  # (k, N, width), room that all chunks share: fresh memory costs time


def chunks_of(x: Tensor, y: Tensor, model: PairMLP) -> list[_Chunk]:
    """As many networks at a time as have two megabytes of hidden units, about what a cache holds."""
    width, counts, begin = model.left.embedding_dim, y >= 0, 0
    weights = counts.to(model.left.weight.dtype) / counts.sum(dim=1, keepdim=True)
    sizes = (counts * torch.arange(1, y.shape[1] + 1, device=y.device)).amax(dim=1).tolist()
    most = 2**19 if x.device.type == "cpu" else math.inf
    chunks = []
    while begin < len(x):
        end = begin + 1
        while end < len(x) and (end + 1 - begin) * max(sizes[begin : end + 1]) * width <= most:
            end += 1
        networks, n = slice(begin, end), max(sizes[begin:end])  # what only fills up is left out, if all do
        bags = bags_of_pairs(x[networks, :n], model)
        labels = y[networks, None, :n].clamp(min=0)
        chunks.append(_Chunk(networks, bags, bags.reverse(), labels, weights[networks, None, :n]))
        begin = end
    room = model.left.weight.new_empty(max(chunk.y.numel() for chunk in chunks) * width)
    for chunk in chunks:
        chunk.slope = room[: chunk.y.numel() * width].view(*chunk.y.shape[::2], width)
    return chunks


def add_gradients(model: PairMLP, chunk: _Chunk) -> None:
    """Gradients of the mean cross-entropy of  U act(L[a] + R[b]), one formula after the other.

    With p = softmax(logits) and the mean's weights: d logits = weights (p - onehot), d U = d logits . hidden,
    d hidden = U . d logits, times the slope of act, added up over the pairs that have the row.
    """
    tables = [model.left.weight] if model.left is model.right else [model.left.weight, model.right.weight]
    readout, relu = model.body[-1].weight, type(model.body[0]) is nn.ReLU
    u = readout[chunk.networks]
    rows = torch.cat([table[chunk.networks] for table in tables], dim=1)
    before = _sums_of_rows(rows.flatten(0, 1), chunk.bags).view(len(u), -1, u.shape[2])
    hidden = before.relu_() if relu else before.square()
    # exp2 is several times as fast as exp; the logits are (k, p, N), so that it runs along the samples.
    logits = torch.bmm(u * math.log2(math.e), hidden.mT)
    wrong = logits.sub_(logits.amax(dim=1, keepdim=True)).exp2_()
    wrong.mul_(chunk.weights / wrong.sum(dim=1, keepdim=True)).scatter_add_(1, chunk.y, -chunk.weights)
    readout.grad[chunk.networks] += torch.bmm(wrong, hidden)
    slope = torch.bmm(wrong.mT, u, out=chunk.slope)
    if relu:
        torch.ops.aten.threshold_backward(slope, hidden, 0, grad_input=slope)
    else:
        slope.mul_(before).mul_(2)
    sums = _sums_of_rows(slope.flatten(0, 1), chunk.reverse).view(rows.shape)
    for table, grad in zip(tables, sums.split(model.left.num_embeddings, dim=1), strict=True):
        table.grad[chunk.networks] += grad


def _sums_of_rows(matrix: Tensor, bags: Bags) -> Tensor:
    return torch.embedding_bag(matrix, bags.rows, bags.begins, False, 0)[0]


class RowSums(torch.autograd.Function):
    """Sums of rows of a matrix. The gradient is such sums again: PyTorch's own adds up row by row."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, bags: Bags, reverse: Bags) -> Tensor:
        ctx.bags = bags, reverse
        return _sums_of_rows(matrix, bags)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        bags, reverse = ctx.bags
        return RowSums.apply(grad.contiguous(), reverse, bags), None, None


class Product(torch.autograd.Function):
    """weight (S, out, in) and h (S, N, in) -> (S, N, out), each tensor laid out as the next step reads it.

    The output lies features before samples, so that a softmax runs along the samples, many at once; the
    gradient of h lies as h does: samples before features where its rows are to be added up.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, h: Tensor) -> Tensor:
        ctx.save_for_backward(weight, h)
        return torch.bmm(weight, h.mT).mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weight, h = ctx.saved_tensors
        # As h lies in memory: a ReLU in front reads both, and two layouts at once take it twice as long.
        by_h = torch.bmm(grad, weight) if h.is_contiguous() else torch.bmm(weight.mT, grad.mT).mT
        return torch.bmm(grad.mT, h), by_h

"""Waves on Z_p: spectra of tables, and logits with and without their key frequencies."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from minigrok._support import check_tensor


@torch.no_grad()
def fourier_power(table: Tensor, dim: int = 0, *, per_column: bool = False) -> Tensor:
    """How much of a table over Z_p = {0 .. p-1} is a wave of each frequency, as a share of the whole.

        share_k = P_k / sum_k P_k ,   P_k = |F_k|^2 + |F_{-k}|^2 ,   F_k = sum_a table[a] exp(-2 pi i k a / p)

    A real wave cos(2 pi k a / p + phase) has F_k and F_{-k} alike, and no phase is told from another here. So
    the two are one frequency, and k runs from 0 (the constant) to p // 2.

    Args:
        table: real numbers, with an axis for a = 0 .. p-1: an embedding (p, d), say.
        dim: which axis that is.
        per_column: shares within every column by itself, rather than of all columns together.

    Returns:
        (p // 2 + 1,), adding up to 1; with per_column (p // 2 + 1, *other axes). NaN where all is zero.

    Raises:
        ValueError: NaN in the table, fewer than 3 rows.

    Source: the spectra of Nanda et al. 2023 (arXiv 2301.05217), section 4.

    Example:
        >>> a = torch.arange(7)
        >>> wave = torch.cos(2 * torch.pi * 3 * a / 7 + 0.4)
        >>> fourier_power(torch.stack([wave, 5 * wave], dim=1)).round(decimals=3)
        tensor([0., 0., 0., 1.])

    Used in lessons 04, 06, 09 and 14.
    """
    power = _power(table, dim)
    power = power if per_column else _total(power)
    return power / power.sum(dim=0)


@torch.no_grad()
def inverse_participation(table: Tensor, order: float = 2, *, dim: int = 0) -> Tensor:
    """Inverse participation ratio: is a column one wave (1), or a mixture of K equal ones (1/K for order 2)?

        IPR_r = sum_k share_k^r = sum_k P_k^r / (sum_k P_k)^r        r = order

    with the power P_k of `fourier_power`, where k and -k are one frequency. K equal ones give K^(1-r). Taken
    over k and -k apart, as |F_k|^(2r), a pure wave would have 2^(1-r).

    Args:
        table: real numbers, with an axis for a = 0 .. p-1.
        order: r > 1.
        dim: which axis that is.

    Returns:
        One number for each column: the shape of `table` without the axis `dim`. NaN for a column of zeros.
        A constant column is one "wave", of frequency 0.

    Raises:
        ValueError: NaN in the table, fewer than 3 rows, an order of 1 or less.

    Source: Gromov 2023 (arXiv 2301.02679).

    Example:
        >>> angle = 2 * torch.pi * torch.arange(7) / 7
        >>> one, two = torch.cos(angle + 1), torch.cos(angle) + torch.sin(2 * angle)
        >>> inverse_participation(torch.stack([one, two], dim=1))
        tensor([1.0000, 0.5000])

    Used in lesson 04.
    """
    if not order > 1:
        raise ValueError(f"the order must be above 1 (the shares themselves always add up to 1), got {order}")
    return fourier_power(table, dim, per_column=True).pow(order).sum(dim=0)


@torch.no_grad()
def key_frequencies(table: Tensor, n: int | None = None, *, share: float = 0.9, dim: int = 0) -> list[int]:
    """The frequencies that carry a table over Z_p: the n strongest, or the fewest with enough of the power.

    The constant (frequency 0) is left aside, and `share` is a share of the rest.

    Args:
        table: real numbers, with an axis for a = 0 .. p-1.
        n: how many frequencies, 1 to p // 2. None: as many as `share` takes.
        share: in (0, 1], the least share of the power they have together.
        dim: which axis of the table is a.

    Returns:
        Frequencies from 1 to p // 2, in ascending order.

    Raises:
        ValueError: NaN, a table without waves (all rows the same), n or share out of range.

    Example:
        >>> angle = 2 * torch.pi * torch.arange(11) / 11
        >>> table = 3 * torch.cos(5 * angle) + 2 * torch.cos(2 * angle) + 0.1 * torch.sin(angle) + 7
        >>> key_frequencies(table, share=0.99), key_frequencies(table, 1)
        ([2, 5], [5])

    Used in lessons 06, 09 and 16.
    """
    power = _total(_power(table, dim))
    waves = power[1:]
    if n is not None and not 1 <= n <= len(waves) or not 0 < share <= 1:
        raise ValueError(
            f"expected n from 1 to {len(waves)} (half of p, rounded down) or a share above 0 and at most 1, "
            f"got n={n}, share={share}"
        )
    rounding = (table.shape[dim] * torch.finfo(power.dtype).eps) ** 2
    if not waves.sum() > rounding * power.sum():
        raise ValueError("this table has no waves: its rows are all the same, up to rounding")
    strongest = waves.argsort(descending=True, stable=True)
    if n is None:
        before = waves[strongest].cumsum(dim=0)[:-1]
        n = 1 + int((before < share * waves.sum()).sum())
    return sorted((strongest[:n] + 1).tolist())


def restricted(logits: Tensor, frequencies: Iterable[int]) -> Tensor:
    """The logits with nothing left of them but waves of a + b at the key frequencies, and their mean.

        restricted = mean + projection of the logits onto   cos(w_k (a+b)), sin(w_k (a+b)),   w_k = 2 pi k / p

    for every output by itself, over the whole table of pairs (a, b). What is left depends on a + b (mod p)
    alone. A low loss of these logits says that the frequencies are *enough* for what the network does.

    Args:
        logits: (..., p*p, c) over the whole table, in the order a * p + b.
        frequencies: whole numbers from 1 to p // 2.

    Returns:
        The shape of the logits. Together with `excluded`: restricted + excluded = logits + mean.

    Raises:
        ValueError: a number of rows that is no square, a frequency out of range.

    Source: Nanda et al. 2023 (arXiv 2301.05217), section 5.1.

    Example:
        >>> a, b = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
        >>> clock = torch.cos(2 * torch.pi * 2 * (a + b) / 5)[:, None]
        >>> table = clock + torch.cos(2 * torch.pi * 2 * a / 5)[:, None] + 3
        >>> torch.allclose(restricted(table, [2]), clock + 3, atol=1e-5)
        True

    Used in lesson 06.
    """
    return _waves_of_the_sum(logits, [0, *_check_frequencies(frequencies, _check_logits(logits))])


def excluded(logits: Tensor, frequencies: Iterable[int]) -> Tensor:
    """The logits without their waves of a + b at the key frequencies, and with everything else.

        excluded = logits - projection onto   cos(w_k (a+b)), sin(w_k (a+b)),   w_k = 2 pi k / p

    A high loss of these logits says that the network *needs* the frequencies. On the training pairs it
    rises as the waves take over from what was learnt by heart; so the paper takes it there.

    Args, errors and source as in `restricted`.

    Returns:
        The shape of the logits, with the mean over all pairs unchanged.

    Example:
        >>> a, b = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
        >>> clock = torch.cos(2 * torch.pi * 2 * (a + b) / 5)[:, None]
        >>> torch.allclose(excluded(clock + 3, [2]), torch.tensor(3.0), atol=1e-5)
        True

    Used in lesson 06.
    """
    return logits - _waves_of_the_sum(logits, _check_frequencies(frequencies, _check_logits(logits)))


def _waves_of_the_sum(logits: Tensor, frequencies: list[int]) -> Tensor:
    """The projection of logits (..., p*p, c) onto waves of a + b: the mean for each sum, then filtered."""
    p = math.isqrt(logits.shape[-2])
    numbers = torch.arange(p, device=logits.device)
    total = (numbers[:, None] + numbers).flatten() % p
    by_sum = torch.zeros_like(logits[..., :p, :]).index_add(-2, total, logits) / p  # every sum has p pairs
    keep = logits.new_zeros(p // 2 + 1, 1)
    keep[frequencies] = 1
    waves = torch.fft.irfft(torch.fft.rfft(by_sum, dim=-2) * keep, n=p, dim=-2)
    return waves.index_select(-2, total)


def _power(table: Tensor, dim: int) -> Tensor:
    """The power P_k, (p // 2 + 1, *other axes)."""
    if not isinstance(table, Tensor) or not table.is_floating_point():
        kind = table.dtype if isinstance(table, Tensor) else type(table).__name__
        raise TypeError(f"expected a table of real numbers, a torch tensor of floats, got {kind}")
    if not -table.dim() <= dim < table.dim() or table.shape[dim] < 3:
        raise ValueError(
            f"expected a table with an axis dim={dim} for the numbers 0 .. p-1 and p of at least 3, "
            f"got shape {tuple(table.shape)}"
        )
    if not table.isfinite().all():
        raise ValueError("the table has NaN or infinite entries: it has no Fourier spectrum")
    p = table.shape[dim]
    power = torch.fft.rfft(table.movedim(dim, 0), dim=0).abs().square()
    power[1 : (p + 1) // 2] *= 2  # k and -k; only k = 0, and k = p / 2 for even p, are their own mirror
    return power


def _total(power: Tensor) -> Tensor:
    return power.reshape(len(power), -1).sum(dim=1)


def _check_logits(logits: Tensor) -> int:
    check_tensor(logits, "a torch tensor of logits")
    rows = logits.shape[-2] if logits.dim() > 1 else 0
    p = math.isqrt(rows)
    if p < 3 or p * p != rows:
        raise ValueError(
            "expected logits (..., p*p, outputs) on the whole table of pairs in the order a * p + b, got "
            f"shape {tuple(logits.shape)}, and {rows} is not the square of a number from 3. Make a table "
            "(p, p, outputs) flat with logits.flatten(0, 1); logits of the training pairs are not enough."
        )
    return p


def _check_frequencies(frequencies: Iterable[int], p: int) -> list[int]:
    frequencies = list(frequencies)
    wrong = [k for k in frequencies if k not in range(1, p // 2 + 1)]
    if wrong:
        raise ValueError(
            f"frequencies on Z_{p} are whole numbers from 1 to {p // 2} (p - k is the same wave as k, and 0 "
            f"the mean), got {wrong}"
        )
    return [int(k) for k in frequencies]

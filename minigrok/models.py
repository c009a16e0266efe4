"""The networks of the course, as plain `torch.nn` modules."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral

import torch
from torch import Tensor, nn


def mlp(
    widths: Sequence[int],
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    bias: bool = True,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
) -> nn.Sequential:
    """A multilayer perceptron: affine layers with an activation after each but the last.

        h_0 = x,   h_l = activation(W_l h_{l-1} + b_l),   output = W_L h_{L-1} + b_L

    Args:
        widths: [n_in, width of each hidden layer ..., n_out], at least two numbers.
        activation: makes the module after each hidden layer, such as `nn.ReLU` (without brackets).
        bias: False leaves every b_l out.
        generator: where the weights are drawn from; None is torch's own generator. With one given, torch's
            own is neither read nor moved.
        scale: multiplies every weight *and* every bias after the draw, as in the code of Omnigrok
            (Liu et al. 2022, arXiv 2210.01117), where "initialisation x 8" is `scale=8`. A ReLU network
            without biases and with L layers then has outputs scale^L times as large.

    Returns:
        `nn.Sequential` of `nn.Linear` and activations, (N, n_in) -> (N, n_out). The weights follow
        PyTorch's law: uniform between -1/sqrt(fan in) and 1/sqrt(fan in), biases too. A seed gives the
        same numbers here as `torch.manual_seed` gives to the same layers made by hand.

    Raises:
        ValueError: fewer than two widths, a width below 1, a scale that is not above 0.
        TypeError: a module as activation, where a class or function that makes one is expected.

    Example:
        >>> mlp([2, 16, 16, 3], generator=torch.Generator().manual_seed(0))
        Sequential(
          (0): Linear(in_features=2, out_features=16, bias=True)
          (1): ReLU()
          (2): Linear(in_features=16, out_features=16, bias=True)
          (3): ReLU()
          (4): Linear(in_features=16, out_features=3, bias=True)
        )

    Used in most lessons.
    """
    _check(widths, activation, scale)
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [_linear(n_in, n_out, bias, generator, scale), activation()]
    return nn.Sequential(*layers[:-1])


class Square(nn.Module):
    """The activation x -> x^2 of Gromov's networks (arXiv 2301.02679); it has no linear regions.

    Example:
        >>> Square()(torch.tensor([-2.0, 3.0]))
        tensor([4., 9.])

    Used in lessons 04 and 07.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.square()


class PairMLP(nn.Module):
    """A network from pairs of symbols (a, b) to logits; `pair_mlp` makes one and says what it computes.

    Attributes:
        left, right: `nn.Embedding`, what the first and the second symbol are turned into; one module if
            shared.
        combine: "add" or "concatenate", what is done with the two.
        body: `nn.Sequential` from embedded pairs to logits; `networks.trace` and `regions` take it.
    """

    def __init__(self, left: nn.Embedding, right: nn.Embedding, combine: str, body: nn.Sequential):
        super().__init__()
        self.left, self.right, self.combine, self.body = left, right, combine, body

    def embed(self, x: Tensor) -> Tensor:
        """Pairs (N, 2) int64 -> the numbers the body sees, (N, width) or (N, 2 dim)."""
        a, b = self.left(x[..., 0]), self.right(x[..., 1])
        return a + b if self.combine == "add" else torch.cat([a, b], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.embed(x))


def pair_mlp(
    p: int,
    width: int = 128,
    *,
    combine: str = "add",
    dim: int | None = None,
    activation: Callable[[], nn.Module] = nn.ReLU,
    shared: bool = False,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
) -> PairMLP:
    """A network for tables of arithmetic: two embeddings, one hidden layer, no biases.

        combine="add":           logits = U act(L[a] + R[b])
        combine="concatenate":   logits = U act(V [L[a], R[b]])

    "add" is a perceptron on the one-hot codes of a and b laid end to end; with `activation=Square` it is the
    network of Gromov 2023 (arXiv 2301.02679, section 2).

    Args:
        p: number of symbols, and of logits.
        width: hidden units.
        dim: size of each embedding, with "concatenate" alone (default 64); with "add" it is the width.
        shared: one table for both symbols. With "add" the network then cannot tell (a, b) from (b, a): it is
            symmetric before it has learnt anything.
        generator: where the weights are drawn from; None is torch's own.
        scale: multiplies every weight after the draw.

    Returns:
        A `PairMLP`, (N, 2) int64 -> (N, p). Linear layers are drawn by PyTorch's law; an added table as the
        linear layer on 2 p numbers that it is, uniform between -1/sqrt(2p) and 1/sqrt(2p); a concatenated one
        from the standard normal, PyTorch's law for embeddings.

    Raises:
        ValueError: fewer than 2 symbols, sizes below 1, another combine, a dim where the table is added.

    Example:
        >>> model = pair_mlp(59, 128, generator=torch.Generator().manual_seed(0))
        >>> model(torch.tensor([[3, 4], [58, 0]])).shape, sum(w.numel() for w in model.parameters())
        (torch.Size([2, 59]), 22656)

    Used in lessons 04, 07, 09, 14 and 16.
    """
    _check_pairs(p, width, combine, dim)
    _check([p, width], activation, scale)
    size = width if combine == "add" else (64 if dim is None else dim)
    left = _embedding(p, size, combine, generator, scale)
    right = left if shared else _embedding(p, size, combine, generator, scale)
    readout = [activation(), _linear(width, p, False, generator, scale)]
    hidden = [] if combine == "add" else [_linear(2 * size, width, False, generator, scale)]
    return PairMLP(left, right, combine, nn.Sequential(*hidden, *readout))


def cosine_solution(p: int, width: int, *, generator: torch.Generator | None = None) -> PairMLP:
    """The weights of an adding network written down, not learnt: every hidden unit is a wave.

    Unit n has a frequency k_n and phases u_n, v_n:

        L[a, n] = cos(2 pi k_n a / p + u_n),   R[b, n] = cos(2 pi k_n b / p + v_n),
        U[c, n] = cos(2 pi k_n c / p + u_n + v_n),   logits = U (L[a] + R[b])^2 / (2 width)

    The product inside the square holds cos(2 pi k_n (a + b) / p + u_n + v_n), which the last wave turns into
    a peak at c = a + b. The rest has random phases, and averages out with many units.

    Args:
        p: number of symbols, at least 3.
        width: hidden units. The frequencies 1 to (p - 1) / 2 take turns; the phases come from `generator`.

    Returns:
        A `PairMLP` with `Square`, (N, 2) int64 -> (N, p).

    Raises:
        ValueError: p below 3, or what `pair_mlp` refuses.

    Source: Gromov 2023 (arXiv 2301.02679), section 3: the phases must satisfy u + v = that of the output.

    Example:
        >>> model = cosine_solution(11, 500, generator=torch.Generator().manual_seed(0))
        >>> model(torch.tensor([[3, 4], [10, 2]])).argmax(dim=1)
        tensor([7, 1])

    Used in lesson 04.
    """
    if p < 3:
        raise ValueError(f"p must be at least 3: two symbols have no wave but the constant one, got {p}")
    model = pair_mlp(p, width, activation=Square, generator=generator)
    n_frequencies = (p - 1) // 2
    k = 1 + torch.arange(width) % n_frequencies
    u, v = 2 * math.pi * torch.rand(2, width, generator=generator)
    angle = 2 * math.pi / p * torch.outer(torch.arange(p), k)
    with torch.no_grad():
        model.left.weight.copy_(torch.cos(angle + u))
        model.right.weight.copy_(torch.cos(angle + v))
        model.body[1].weight.copy_(torch.cos(angle + u + v) / (2 * width))
    return model


class PairTransformer(nn.Module):
    """A transformer of one layer from pairs of symbols to logits; `pair_transformer` makes one.

    Attributes:
        token: (p + 1, dim), what each symbol is turned into; row p is the sign "=".
        position: (3, dim), added by place: a, b, "=".
        query, key, value, out: linear maps without bias of the attention, for all heads together.
        head: from what stands at "=" after the attention, (N, dim), to logits: the ReLU layer with its skip
            connection, then the unembedding. `networks.trace` and `regions` take it.
    """

    def __init__(self, p: int, dim: int, heads: int, width: int):
        super().__init__()
        self.p, self.heads = p, heads
        self.token, self.position = nn.Parameter(torch.empty(p + 1, dim)), nn.Parameter(torch.empty(3, dim))
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.head = ResidualMLP(dim, width, p)

    def embed(self, x: Tensor) -> Tensor:
        """Pairs (N, 2) int64 -> the embedded tokens a, b, "=", (N, 3, dim)."""
        sign = torch.full_like(x[:, :1], self.p)
        return nn.functional.embedding(torch.cat([x, sign], dim=1), self.token) + self.position

    def attention(self, e: Tensor) -> Tensor:
        """Embedded tokens (N, 3, dim) -> what stands at "=" after it has looked at all three, (N, dim)."""
        n, tokens, dim = e.shape
        q = self.query(e[:, -1]).view(n, self.heads, 1, -1)  # nothing is read out anywhere else
        k, v = (f(e).view(n, tokens, self.heads, -1).transpose(1, 2) for f in (self.key, self.value))
        weights = (q @ k.mT / math.sqrt(dim / self.heads)).softmax(dim=-1)
        return e[:, -1] + self.out((weights @ v).reshape(n, dim))

    def body(self, e: Tensor) -> Tensor:
        """Embedded tokens (N, 3, dim) -> logits (N, p)."""
        return self.head(self.attention(e))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.embed(x))


class ResidualMLP(nn.Module):
    """r -> unembed(r + down(relu(up(r)))): one ReLU layer with its skip connection, and the logits.

    Example:
        >>> ResidualMLP(8, 32, 5)(torch.zeros(2, 8)).shape
        torch.Size([2, 5])

    Used in lesson 06, through `pair_transformer`.
    """

    def __init__(self, dim: int, width: int, n_out: int):
        super().__init__()
        self.up, self.down = nn.Linear(dim, width), nn.Linear(width, dim)
        self.unembed = nn.Linear(dim, n_out, bias=False)

    def forward(self, r: Tensor) -> Tensor:
        return self.unembed(r + self.down(torch.relu(self.up(r))))


def pair_transformer(
    p: int = 113,
    *,
    dim: int = 128,
    heads: int = 4,
    width: int = 512,
    generator: torch.Generator | None = None,
) -> PairTransformer:
    """The one-layer transformer of Nanda et al. 2023, without layer norm, which reads "a b =" and answers.

        e = token[a, b, =] + position;   r = e_= + out(attention of "=" to all three);
        logits = unembed(r + down(relu(up(r))))

    The attention of the last token is all that is computed, since nothing else is read out.

    Args:
        p: number of symbols, and of logits.
        dim: size of the residual stream, a multiple of `heads`.
        width: units of the ReLU layer.
        generator: where the weights are drawn from; None is torch's own.

    Returns:
        A `PairTransformer`, (N, 2) int64 -> (N, p). Weights are normal with variance 1/dim (tokens, positions
        and maps out of the stream) or 1/width (`head.down`), biases zero.

    Raises:
        ValueError: fewer than 2 symbols, sizes below 1, or a dim that the heads cannot share.

    Source: Nanda et al. 2023 (arXiv 2301.05217), section 3. Their unembedding also gives a logit to "=".

    Example:
        >>> model = pair_transformer(generator=torch.Generator().manual_seed(0))
        >>> model(torch.tensor([[3, 4], [112, 0]])).shape, sum(w.numel() for w in model.parameters())
        (torch.Size([2, 113]), 226688)

    Used in lesson 06.
    """
    _check_pairs(p, width, "add", None)
    if heads < 1 or dim < 1 or dim % heads:
        raise ValueError(
            f"dim must be a multiple of heads, so that each head has its share: got {dim}, {heads}"
        )
    with torch.device("meta"):  # so that no layer draws from torch's own generator as it is made
        model = PairTransformer(p, dim, heads, width)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            fan_in = width if name == "head.down.weight" else dim
            weight.zero_() if name.endswith("bias") else weight.normal_(0, fan_in**-0.5, generator=generator)
    return model


def cnn(
    width: int = 32,
    *,
    batch_norm: bool = False,
    n_classes: int = 10,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """A network for pictures of 32 x 32: five convolutions and two affine layers.

        channels 3 -> w -> 2w -> 2w -> 4w -> 4w, all 3 x 3, strides 2, 1, 2, 1, 2:  32 x 32 -> 4 x 4;
        then 64w -> 16w -> n_classes, with a ReLU after each layer but the last

    Five convolutions and two affine layers are what Humayun et al. 2024 (section 4) say of theirs; channels
    and strides they do not give, these are ours.

    Args:
        width: w; the network has about 1,310 w^2 weights.
        batch_norm: a batch norm between each convolution and its ReLU.
        generator: where the weights are drawn from (PyTorch's law); None is torch's own generator.

    Returns:
        `nn.Sequential`, (N, 3, 32, 32) -> (N, n_classes).

    Example:
        >>> model = cnn(8, generator=torch.Generator().manual_seed(0))
        >>> model(torch.zeros(2, 3, 32, 32)).shape, sum(w.numel() for w in model.parameters())
        (torch.Size([2, 10]), 84554)

    Used in lesson 11.
    """
    _check_pictures(width, n_classes)
    layers: list[nn.Module] = []
    channels = [3, width, 2 * width, 2 * width, 4 * width, 4 * width]
    for n_in, n_out, stride in zip(channels[:-1], channels[1:], [2, 1, 2, 1, 2], strict=True):
        layers += [_conv(n_in, n_out, 3, stride, True, generator), _norm(n_out, batch_norm), nn.ReLU()]
    layers += [nn.Flatten(), _linear(64 * width, 16 * width, True, generator, 1.0), nn.ReLU()]
    layers += [_linear(16 * width, n_classes, True, generator, 1.0)]
    return nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))


class PreActBlock(nn.Module):
    """x -> shortcut + conv2(relu(norm2(conv1(h)))) with h = relu(norm1(x)): a block of `resnet18`.

    The shortcut is x, or a 1 x 1 convolution of h where the number of channels or the size changes.

    Example:
        >>> PreActBlock(8, 16, stride=2)(torch.zeros(1, 8, 32, 32)).shape
        torch.Size([1, 16, 16, 16])

    Used in the recording of lesson 11, through `resnet18`.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        stride: int = 1,
        batch_norm: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        bias = not batch_norm  # a bias in front of a batch norm is taken out again by it
        self.norm1, self.norm2 = _norm(n_in, batch_norm), _norm(n_out, batch_norm)
        self.conv1 = _conv(n_in, n_out, 3, stride, bias, generator)
        self.conv2 = _conv(n_out, n_out, 3, 1, bias, generator)
        same = stride == 1 and n_in == n_out
        self.shortcut = None if same else _conv(n_in, n_out, 1, stride, bias, generator)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(h)
        return shortcut + self.conv2(torch.relu(self.norm2(self.conv1(h))))


def resnet18(
    width: int = 16,
    *,
    batch_norm: bool = False,
    n_classes: int = 10,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """A pre-activation ResNet-18 for small pictures: a convolution, eight blocks, the mean over all places.

        3 -> k by 3 x 3;  blocks of k, k, 2k, 2k, 4k, 4k, 8k, 8k channels (`PreActBlock`), the first of 2k,
        4k and 8k with stride 2;  norm, ReLU, mean over the picture, affine map to n_classes

    Args:
        width: k; 64 is the usual ResNet-18, 16 the network of Humayun et al. 2024 on CIFAR-10.
        batch_norm: the usual network has it; False leaves it out, as they do.
        generator: where the weights are drawn from (PyTorch's law); None is torch's own generator.

    Returns:
        `nn.Sequential`, (N, 3, H, W) -> (N, n_classes) for pictures of any size from 8 x 8.

    Source: He et al. 2016 (arXiv 1603.05027) for the order of norm, ReLU and convolution.

    Example:
        >>> model = resnet18(4, generator=torch.Generator().manual_seed(0))
        >>> model(torch.zeros(2, 3, 32, 32)).shape, sum(w.numel() for w in model.parameters())
        (torch.Size([2, 10]), 44322)

    Used in the recording of lesson 11.
    """
    _check_pictures(width, n_classes)
    layers: list[nn.Module] = [_conv(3, width, 3, 1, not batch_norm, generator)]
    n_in = width
    for stage in range(4):
        n_out = width * 2**stage
        for stride in (1 if stage == 0 else 2, 1):
            layers.append(PreActBlock(n_in, n_out, stride=stride, batch_norm=batch_norm, generator=generator))
            n_in = n_out
    if batch_norm:
        layers.append(nn.BatchNorm2d(n_in))
    layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, _linear(n_in, n_classes, True, generator, 1.0))


def _conv(
    n_in: int, n_out: int, size: int, stride: int, bias: bool, generator: torch.Generator | None
) -> nn.Conv2d:
    layer = nn.utils.skip_init(
        nn.Conv2d, n_in, n_out, size, stride=stride, padding=size // 2, bias=bias
    )  # without its own draw, as in _linear
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    if bias:
        bound = (n_in * size * size) ** -0.5
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


def _norm(channels: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


def _check_pictures(width: int, n_classes: int) -> None:
    whole = isinstance(width, Integral) and isinstance(n_classes, Integral)
    if not (whole and width >= 1 and n_classes >= 2):
        raise ValueError(
            f"width must be at least 1 channel and n_classes at least 2, got {width!r} and {n_classes!r}"
        )


def _linear(n_in: int, n_out: int, bias: bool, generator: torch.Generator | None, scale: float) -> nn.Linear:
    # nn.Linear draws from torch's own generator as it is made: make it without, then draw by the same law.
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)  # the bound is 1/sqrt(n_in)
    if bias:
        nn.init.uniform_(layer.bias, -1 / math.sqrt(n_in), 1 / math.sqrt(n_in), generator=generator)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter *= scale
    return layer


def _embedding(
    p: int, size: int, combine: str, generator: torch.Generator | None, scale: float
) -> nn.Embedding:
    table = nn.utils.skip_init(nn.Embedding, p, size)
    with torch.no_grad():
        if combine == "add":
            table.weight.uniform_(-1 / math.sqrt(2 * p), 1 / math.sqrt(2 * p), generator=generator)
        else:
            table.weight.normal_(generator=generator)
        table.weight *= scale
    return table


def _check_pairs(p: int, width: int, combine: str, dim: int | None) -> None:
    if not (isinstance(p, Integral) and p >= 2 and isinstance(width, Integral) and width >= 1):
        raise ValueError(f"p must be at least 2 symbols and width at least 1 unit, got {p!r} and {width!r}")
    if combine not in ("add", "concatenate"):
        raise ValueError(f"combine must be 'add' or 'concatenate', got {combine!r}")
    if combine == "add" and dim is not None:
        raise ValueError(f"an added embedding is as wide as the hidden layer: leave dim out, got dim={dim}")
    if dim is not None and dim < 1:
        raise ValueError(f"dim must be at least 1, got {dim}")


def _check(widths: Sequence[int], activation: Callable[[], nn.Module], scale: float) -> None:
    if len(widths) < 2 or not all(isinstance(width, Integral) and width > 0 for width in widths):
        raise ValueError(
            f"widths must be at least two positive numbers, [n_in, hidden ..., n_out]; got {list(widths)}. "
            "For one hidden layer of 16 units from 2 inputs to 3 outputs write [2, 16, 3]."
        )
    if isinstance(activation, nn.Module):
        raise TypeError(
            f"activation must be a class or function that makes a module, got the module {activation}. "
            f"Write nn.{type(activation).__name__} without brackets, or lambda: {activation}."
        )
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a finite number above 0 (1 is PyTorch's law), got {scale}")

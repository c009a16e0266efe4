"""Usual mistakes in the exercises of lesson 11, and the words by which each must be diagnosed."""

_FOLD = """
def fold(weight, bias, gamma, beta, mean, var, eps):
    scale = {scale}
    each = scale.view(-1, *[1] * (weight.dim() - 1))
    return {weight}, {bias}
"""


def _fold(
    scale: str = "gamma / (var + eps).sqrt()",
    weight: str = "each * weight",
    bias: str = "beta + scale * (bias - mean)",
) -> str:
    return _FOLD.format(scale=scale, weight=weight, bias=bias)


_DISTANCE = "def mean_squared_distance(h, weight, bias):\n    z = h @ weight.T + bias\n    return {value}"
_GAIN = """
clean, robust = check.class_curves(seed=CLASS_SEED)
near = clean >= {level}
k = near.argmax()
gain = {value}
"""


def _gain(value: str = "robust[-1] - robust[k]", level: str = "0.95 * clean.max()") -> str:
    return _GAIN.format(value=value, level=level)


WRONG = {
    "11-levels": [
        ("on 0 to 1", "def levels(eps, low, high):\n    return 255 * eps", r"did not use `low` and `high`"),
        ("a share", "def levels(eps, low, high):\n    return eps / (high - low)", r"share of the whole way"),
        ("multiplied", "def levels(eps, low, high):\n    return 255 * eps * (high - low)", r"not multiply"),
        ("256 of them", "def levels(eps, low, high):\n    return 256 * eps / (high - low)",
         r"255 steps between"),
        ("backwards", "def levels(eps, low, high):\n    return 255 * eps / (low - high)",
         r"`high - low` long"),
        ("sum of the sizes", "def levels(eps, low, high):\n    return 255 * eps / (abs(low) + abs(high))",
         r"not the sum of their sizes"),
        ("rounded", "def levels(eps, low, high):\n    return round(255 * eps / (high - low))",
         r"do not round"),
        ("as a value", "def levels(eps, low, high):\n    return 255 * (eps - low) / (high - low)",
         r"where a pixel of the value eps stands"),
    ],
    "11-fold": [
        ("no gamma", _fold(scale="(var + eps) ** -0.5"), r"gamma is missing"),
        ("no root", _fold(scale="gamma / (var + eps)"), r"standard deviation, not by the variance"),
        ("no eps", _fold(scale="gamma / var.sqrt()"), r"small number eps is missing"),
        ("on the inputs", "def fold(weight, bias, gamma, beta, mean, var, eps):\n"
         "    scale = gamma / (var + eps).sqrt()\n"
         "    each = scale if weight.dim() == 2 else scale.view(-1, 1, 1, 1)\n"
         "    return weight * each, beta + scale * (bias - mean)", r"factor stands on the inputs"),
        ("gamma without its sign", _fold(weight="each.abs() * weight"), r"leave its sign"),
        ("bias dropped", _fold(bias="beta - scale * mean"), r"the old bias is missing"),
        ("mean not stretched", _fold(bias="beta + scale * bias - mean"), r"so it is stretched too"),
        ("mean added", _fold(bias="beta + scale * (bias + mean)"), r"taken away, not added"),
        ("bias without gamma", _fold(bias="beta + (bias - mean) / (var + eps).sqrt()"),
         r"it stretches the bias and the mean too"),
        ("beta inside", _fold(bias="scale * (bias - mean + beta)"), r"beta is added after"),
        ("weight alone", "def fold(weight, bias, gamma, beta, mean, var, eps):\n    return weight",
         r"should return two tensors"),
    ],
    "11-distance": [
        ("pre-activations", _DISTANCE.format(value="z.square().mean(0)"), r"divide by the squared length"),
        ("length not squared", _DISTANCE.format(value="z.square().mean(0) / weight.norm(dim=1)"),
         r"length of w must be squared"),
        ("mean first", _DISTANCE.format(value="(z.mean(0) / weight.norm(dim=1)).square()"),
         r"distance of the mean input"),
        ("variance", _DISTANCE.format(value="z.var(0, unbiased=False) / weight.square().sum(1)"),
         r"as if the hyperplane went through the mean"),
        ("a sum", _DISTANCE.format(value="z.square().sum(0) / weight.square().sum(1)"), r"take the mean"),
        ("one length for all", _DISTANCE.format(value="z.square().mean(0) / weight.square().sum()"),
         r"not of the whole matrix"),
        ("bias taken away", _DISTANCE.format(
            value="(z - 2 * bias).square().mean(0) / weight.square().sum(1)"), r"not taken away"),
        ("no bias", _DISTANCE.format(value="(h @ weight.T).square().mean(0) / weight.square().sum(1)"),
         r"the bias is missing"),
    ],
    "11-gain": [
        ("from the lowest", _gain("robust[-1] - robust.min()"), r"any dip would count"),
        ("from the start", _gain("robust[-1] - robust[0]"), r"beginning of training"),
        ("an accuracy of 0.95, never reached", _gain(level="0.95"), r"beginning of training"),
        ("to the largest", _gain("robust.max() - robust[k]"), r"not the last one"),
        ("from the best step", _gain("robust[-1] - robust[clean.argmax()]"),
         r"step of the best clean accuracy"),
        ("from the last near it", _gain("robust[-1] - robust[near.nonzero()[0][-1]]"), r"\*last\* step near"),
        ("a look too early", _gain("robust[-1] - robust[k - 1]"),
         r"the look before|not 0.05 less|not of the last one"),
        ("0.05 less", _gain(level="clean.max() - 0.05"), r"not 0.05 less|not of the last one"),
        ("backwards", _gain("robust[k] - robust[-1]"), r"the sign is wrong"),
        ("the clean one", _gain("clean[-1] - clean[k]"), r"gain in clean accuracy"),
        ("a ratio", _gain("robust[-1] / robust[k]"), r"take the difference"),
        ("the place", _gain("k"), r"place of the look"),
    ],
}  # fmt: skip

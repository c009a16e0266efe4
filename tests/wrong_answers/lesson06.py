"""Usual mistakes in the exercises of lesson 06, and the words by which each must be diagnosed."""

_CLOCK = """
def clock(p, frequencies):
    a, b, c = torch.meshgrid(torch.arange(p), torch.arange(p), torch.arange(p), indexing="ij")
    return {scores}
"""

_RESTRICTED = """
def restricted(logits, frequencies):
    p = math.isqrt(len(logits))
    total = (torch.arange(p)[:, None] {sign} torch.arange(p)).flatten()
    waves = torch.zeros_like(logits)
    for k in frequencies:
        angle = 2 * torch.pi * k * total / p
        for wave in {waves}:
            wave = wave.to(logits.dtype)[:, None]
            waves += {factor} * wave * (wave * logits).mean(dim=0)
    return {result}
"""


def _restricted(
    sign="+", waves="(torch.cos(angle), torch.sin(angle))", factor="2", result="logits.mean(0) + waves"
):
    return _RESTRICTED.format(sign=sign, waves=waves, factor=factor, result=result)


_EXCLUDED = """
def excluded_loss(logits, y, rows, frequencies):
    kept = measures.restricted(logits, frequencies)
    {body}
"""

_HANDS = """
logits = check.mystery(seed=CLASS_SEED)
{body}
"""

WRONG = {
    "06-clock": [
        ("c added", _CLOCK.format(
            scores="sum(torch.cos(2 * torch.pi * k * (a + b + c) / p) for k in frequencies).flatten(0, 1)"),
         r"c should be subtracted"),
        ("the mean", _CLOCK.format(scores="sum(torch.cos(2 * torch.pi * k * (a + b - c) / p) "
                                          "for k in frequencies).flatten(0, 1) / len(frequencies)"),
         r"take the sum"),
        ("one frequency", _CLOCK.format(
            scores="torch.cos(2 * torch.pi * frequencies[0] * (a + b - c) / p).flatten(0, 1)"),
         r"only the first frequency"),
        ("no 2 pi", _CLOCK.format(
            scores="sum(torch.cos(k * (a + b - c) / p) for k in frequencies).flatten(0, 1)"),
         r"there is no 2 pi"),
        ("a - b", _CLOCK.format(
            scores="sum(torch.cos(2 * torch.pi * k * (a - b - c) / p) for k in frequencies).flatten(0, 1)"),
         r"the clock of a - b"),
        ("sines", _CLOCK.format(
            scores="sum(torch.sin(2 * torch.pi * k * (a + b - c) / p) for k in frequencies).flatten(0, 1)"),
         r"those are sines"),
        ("not flat", _CLOCK.format(
            scores="sum(torch.cos(2 * torch.pi * k * (a + b - c) / p) for k in frequencies)"),
         r"should have shape \(49, 7\), got \(7, 7, 7\)"),
    ],
    "06-restricted": [
        ("no mean", _restricted(result="waves"), r"each output's mean is missing"),
        ("half the height", _restricted(factor="1"), r"the mean of cos\^2 is 1/2"),
        ("sums", _restricted(factor="2 * len(logits)"), r"a mean over all pairs, not a sum"),
        ("no sines", _restricted(waves="(torch.cos(angle),)"), r"the sines are missing"),
        ("a - b", _restricted(sign="-"), r"waves of a - b"),
        ("the rest", _restricted(result="logits - waves"), r"what should be removed"),
        ("one mean for all", _restricted(result="logits.mean() + waves"), r"each output by itself"),
        ("means of the sums", """
def restricted(logits, frequencies):
    p = math.isqrt(len(logits))
    total = (torch.arange(p)[:, None] + torch.arange(p)).flatten() % p
    return torch.zeros(p, logits.shape[1], dtype=logits.dtype).index_add(0, total, logits) / p
""", r"should have shape \(49, 3\), got \(7, 3\)"),
    ],
    "06-excluded": [
        ("nothing removed", _EXCLUDED.format(body="return F.cross_entropy(logits[rows], y[rows])"),
         r"the logits as they are"),
        ("the mean too", _EXCLUDED.format(body="return F.cross_entropy((logits - kept)[rows], y[rows])"),
         r"the mean is gone too"),
        ("the restricted loss", _EXCLUDED.format(body="return F.cross_entropy(kept[rows], y[rows])"),
         r"that is the restricted loss"),
        ("all pairs", _EXCLUDED.format(body="return F.cross_entropy(logits - kept + logits.mean(0), y)"),
         r"choose the rows"),
        ("the sum", _EXCLUDED.format(
            body="return F.cross_entropy((logits - kept + logits.mean(0))[rows], y[rows], reduction='sum')"),
         r"not the mean"),
        ("one loss a row", _EXCLUDED.format(body="return F.cross_entropy((logits - kept + logits.mean(0))"
                                                 "[rows], y[rows], reduction='none')"),
         r"should be one number"),
    ],
    "06-hands": [
        ("how many", _HANDS.format(body="sum_of_frequencies = 4"), r"how many hands there are"),
        ("everything that waves", _HANDS.format(
            body="power = measures.fourier_power(logits.reshape(59, 59, 59))[1:]\n"
                 "sum_of_frequencies = int((power.argsort(descending=True)[:6] + 1).sum())"),
         r"waves of a alone and of a - b"),
        ("the strongest three", _HANDS.format(
            body="sum_of_frequencies = sum(measures.key_frequencies(dial(logits), 3))"),
         r"the weakest hand is missing"),
        ("counted from 0", _HANDS.format(
            body="power = measures.fourier_power(dial(logits))[1:]\n"
                 "sum_of_frequencies = int(power.argsort(descending=True)[:4].sum())"),
         r"each is one too low"),
        ("a list", _HANDS.format(body="sum_of_frequencies = measures.key_frequencies(dial(logits), 4)"),
         r"should be one number"),
    ],
}  # fmt: skip

"""Usual mistakes in the exercises of lesson 16, and the words by which each must be diagnosed."""

_SAND = "x, y = check.heaps_and_holes(seed=CLASS_SEED)\ndistance = "

_COUNTER = """
def counterfactual_distance(h, w, answers):
    v = torch.linalg.lstsq(h, answers).solution.T
    return {}
"""

_MOVED = """
def moved(h, w, cut):
    before = (h @ w.T).log_softmax(-1)
    after = (h @ {cut}.T).log_softmax(-1)
    return {out}
"""
_ZERO, _KL = "w.masked_fill(cut, 0)", "(before.exp() * (before - after)).sum(-1).mean().item()"

_APART = """
def apart(a, b):
    {centre}
    return {out}
"""
_CENTRE, _RATIO = (
    "a, b = (z - z.mean(-1, keepdim=True) for z in (a, b))",
    "((a - b).norm() / a.norm()).item()",
)

_ROUND = "def one_round(w, x):\n    labels = {}\n    return {}"
_SIGN, _MEAN = "np.where(x @ w > 0, 1, -1)", "(labels[:, None] * x).mean(axis=0)"

WRONG = {
    "16-sand": [
        ("not sorted", _SAND + "np.abs(x - y).mean()", r"in the order in which they came"),
        ("difference of means", _SAND + "abs(x.mean() - y.mean())", r"distance of the two means"),
        ("nearest", _SAND + "np.abs(x[:, None] - y).min(axis=1).mean()", r"filled twice"),
        ("nearest, from the holes", _SAND + "np.abs(x[:, None] - y).min(axis=0).mean()", r"used twice"),
        ("median", _SAND + "np.median(np.abs(np.sort(x) - np.sort(y)))", r"that is the median"),
        ("sum", _SAND + "np.abs(np.sort(x) - np.sort(y)).sum()", r"that is the sum"),
        ("all pairs", _SAND + "np.abs(x[:, None] - y).mean()", r"mean over all pairs"),
        ("squared", _SAND + "((np.sort(x) - np.sort(y)) ** 2).mean()", r"not squared$"),
        ("root of squares", _SAND + "((np.sort(x) - np.sort(y)) ** 2).mean() ** 0.5", r"with a root"),
        ("greedy", _SAND + """0.0
left = list(y)
for a in x:
    b = min(left, key=lambda b: abs(a - b))
    left.remove(b)
    distance += abs(a - b) / len(x)
""", r"nearest hole that was left"),
        ("one sorted", _SAND + "np.abs(np.sort(x) - y).mean()", r"the holes are not"),
        ("one by one", _SAND + "np.abs(np.sort(x) - np.sort(y))", r"should be one number, got 60"),
    ],
    "16-counterfactual": [
        ("cosine", _COUNTER.format("((v * w).sum() / v.norm() / w.norm()).item()"), r"that is the cosine"),
        ("answers", _COUNTER.format("1 - torch.cosine_similarity((h @ w.T).flatten(), answers.flatten(), 0)"),
         r"answers are compared"),
        ("absolute cosine", _COUNTER.format("1 - ((v * w).sum() / v.norm() / w.norm()).abs().item()"),
         r"sign turned"),
        ("row by row", _COUNTER.format("1 - torch.cosine_similarity(v, w, dim=1).mean()"), r"row by row"),
        ("no lengths", _COUNTER.format("1 - (v * w).sum()"), r"not divided by their lengths"),
        ("difference", _COUNTER.format("(v - w).norm()"), r"does not see the lengths"),
        ("not transposed", _COUNTER.format("1 - (v.T * w).sum()"), r"raised RuntimeError"),
        ("no least squares", _COUNTER.format(
            "1 - torch.cosine_similarity((h.T @ answers).T.flatten(), w.flatten(), 0)"),
         r"least squares divides"),
        ("flattened, not transposed", "def counterfactual_distance(h, w, answers):\n"
         "    v = torch.linalg.lstsq(h, answers).solution\n"
         "    return 1 - torch.cosine_similarity(v.flatten(), w.flatten(), dim=0)", r"in different orders"),
    ],
    "16-cut": [
        ("exchanged", _MOVED.format(cut=_ZERO, out="(after.exp() * (after - before)).sum(-1).mean()"),
         r"before and after are exchanged"),
        ("kept the cut", _MOVED.format(cut="w.masked_fill(~cut, 0)", out=_KL), r"kept the entries"),
        ("sum", _MOVED.format(cut=_ZERO, out=_KL.replace(".mean()", ".sum()")), r"sum over the examples"),
        ("mean over classes", _MOVED.format(cut=_ZERO, out=_KL.replace(".sum(-1)", ".mean(-1)")),
         r"mean over the classes, too"),
        ("wrong sign", _MOVED.format(cut=_ZERO, out="-" + _KL), r"wrong sign"),
        ("base 2", _MOVED.format(cut=_ZERO, out=_KL.replace(".item()", " / np.log(2)")), r"of base 2"),
        ("over the examples", _MOVED.replace("(-1)", "(0)").format(cut=_ZERO, out=_KL), r"over the classes"),
        ("logarithm of softmax", """
def moved(h, w, cut):
    before, after = ((h @ z.T).softmax(-1) for z in (w, w.masked_fill(cut, 0)))
    return (before * (before.log() - after.log())).sum(-1).mean().item()
""", r"a log of zero"),
    ],
    "16-invariance": [
        ("not centred", _APART.format(centre="pass", out=_RATIO), r"still there: take it away first"),
        ("over examples", _APART.format(centre=_CENTRE.replace("-1", "0"), out=_RATIO),
         r"mean over the examples"),
        ("mean of ratios", _APART.format(
            centre=_CENTRE, out="((a - b).norm(dim=-1) / a.norm(dim=-1)).mean()"), r"one ratio each"),
        ("not divided", _APART.format(centre=_CENTRE, out="(a - b).norm()"), r"not divided"),
        ("by b", _APART.format(centre=_CENTRE, out="(a - b).norm() / b.norm()"), r"length of b"),
        ("by both", _APART.format(centre=_CENTRE, out="(a - b).norm() / (a.norm() + b.norm())"),
         r"of a alone"),
        ("largest stretch", _APART.format(
            centre=_CENTRE, out="torch.linalg.norm(a - b, 2) / torch.linalg.norm(a, 2)"), r"of all entries"),
        ("absolute values", _APART.format(
            centre=_CENTRE, out="(a - b).abs().sum() / a.abs().sum()"), r"not absolute values"),
        ("square", _APART.format(centre=_CENTRE, out="((a - b).norm() / a.norm()) ** 2"), r"take the root"),
    ],
    "16-round": [
        ("no labels", _ROUND.format(_SIGN, "x.mean(axis=0)"), r"labels are missing"),
        ("sum", _ROUND.format(_SIGN, "(labels[:, None] * x).sum(axis=0)"), r"that is the sum"),
        ("zero and one", _ROUND.format("(x @ w > 0)", _MEAN), r"0 and 1 leave one side out"),
        ("wrong side", _ROUND.format("np.where(x @ w > 0, -1, 1)", _MEAN), r"wrong side"),
        ("mixed", _ROUND.format(_SIGN, "(w + " + _MEAN + ") / 2"), r"not mixed in"),
        ("no sign", _ROUND.format("x @ w", _MEAN), r"only its sign"),
        ("mean over coordinates", _ROUND.format(_SIGN, "(labels[:, None] * x).mean(axis=1)"),
         r"should have shape"),
    ],
}  # fmt: skip

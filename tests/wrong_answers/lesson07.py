"""Usual mistakes in the exercises of lesson 07, and the words by which each must be diagnosed."""

_PERP = "def perp(w, g):\n    across = {}\n    return {}"
_LONG = "across * g.norm() / across.norm()"

_SLOW = """
def grokfast_gradients(gradients, alpha, lamb):
    m, changed = {begin}, []
    for g in gradients:
        {each}
        changed.append({out})
    return torch.stack(changed)
"""
_RIGHT = {
    "begin": "gradients[0]",
    "each": "m = alpha * m + (1 - alpha) * g",
    "out": "g + lamb * m",
}


def _slow(**changes: str) -> str:
    return _SLOW.format(**_RIGHT | changes)


_CRITICAL = """
def critical_share(shares, understood):
    enough = {enough}
    from_here_on = np.logical_and.accumulate(enough[::-1])[::-1]
    return shares[from_here_on.argmax()] if from_here_on.any() else np.nan
"""

WRONG = {
    "07-perp": [
        ("length not kept", _PERP.format("g - (w @ g) / (w @ w) * w", "across"), r"as long again"),
        ("length one", _PERP.format("g - (w @ g) / (w @ w) * w", "across / across.norm()"), r"has length 1"),
        ("as long as w", _PERP.format("g - (w @ g) / (w @ w) * w", "across * w.norm() / across.norm()"),
         r"the length of w: it should be"),
        ("not divided", _PERP.format("g - (w @ g) * w", _LONG), r"must be divided by w\.w"),
        ("divided by the length", _PERP.format("g - (w @ g) / w.norm() * w", _LONG), r"divide by w\.w"),
        ("added", _PERP.format("g + (w @ g) / (w @ w) * w", _LONG), r"take it away"),
        ("the part along w", _PERP.format("(w @ g) / (w @ w) * w", "across"), r"part along w itself"),
        ("the other way", _PERP.format("(w @ g) / (w @ w) * w - g", _LONG), r"points the other way"),
        ("a cosine", _PERP.format("g - (w @ g) / (w.norm() * g.norm()) * w", _LONG), r"length of g as well"),
        ("roles exchanged", _PERP.format("w - (w @ g) / (g @ g) * g", _LONG), r"away from g"),
    ],
    "07-slow": [
        ("begins at zero", _slow(begin="torch.zeros_like(gradients[0])"), r"begins at zero"),
        ("alpha exchanged", _slow(each="m = (1 - alpha) * m + alpha * g"), r"yours are exchanged"),
        ("whole gradient", _slow(each="m = alpha * m + g"), r"weighed with 1 - alpha, not with 1"),
        ("slow part alone", _slow(out="lamb * m"), r"slow part alone"),
        ("memory alone", _slow(out="m"), r"memory alone"),
        ("no lamb", _slow(out="g + m"), r"lamb is missing"),
        ("one step late", """
def grokfast_gradients(gradients, alpha, lamb):
    m, changed = gradients[0], []
    for g in gradients:
        changed.append(g + lamb * m)
        m = alpha * m + (1 - alpha) * g
    return torch.stack(changed)
""", r"memory of the step before"),
        ("fed back", """
def grokfast_gradients(gradients, alpha, lamb):
    m, changed = gradients[0], []
    for g in gradients:
        g = g + lamb * (alpha * m + (1 - alpha) * g)
        m = alpha * m + (1 - alpha) * g
        changed.append(g)
    return torch.stack(changed)
""", r"not right"),
        ("last one only", _slow().replace("torch.stack(changed)", "changed[-1]"), r"should have shape"),
    ],
    "07-halved": [
        ("one tick", "lr, decay = check.class_clock(seed=CLASS_SEED)\n"
         "halved = int(np.ceil(1 / (lr * decay)))", r"one tick"),
        ("with e", "lr, decay = check.class_clock(seed=CLASS_SEED)\n"
         "halved = int(np.ceil(np.log(2) / (lr * decay)))", r"formula with e"),
        ("no learning rate", "lr, decay = check.class_clock(seed=CLASS_SEED)\n"
         "halved = int(np.ceil(np.log(2) / decay))", r"left the learning rate out"),
        ("no decay", "lr, decay = check.class_clock(seed=CLASS_SEED)\n"
         "halved = int(np.ceil(np.log(0.5) / np.log(1 - lr)))", r"left the weight decay out"),
        ("rounded down", "lr, decay = check.class_clock(seed=CLASS_SEED)\n"
         "halved = int(np.log(0.5) / np.log(1 - lr * decay))", r"round up"),
        ("not whole", "halved = 7.5", r"should be a whole number"),
    ],
    "07-critical": [
        ("any seed", _CRITICAL.format(enough="(~np.isnan(understood)).any(axis=1)"), r"one seed|left out"),
        ("half is enough", _CRITICAL.format(enough="(~np.isnan(understood)).mean(axis=1) >= 0.5"),
         r"exactly half"),
        ("all seeds", _CRITICAL.format(enough="(~np.isnan(understood)).all(axis=1)"), r"all seeds|NaN"),
        ("first that does", """
def critical_share(shares, understood):
    enough = (~np.isnan(understood)).mean(axis=1) > 0.5
    return shares[enough.argmax()] if enough.any() else np.nan
""", r"from your share on every one"),
        ("half is enough, in an array", _CRITICAL.format(
            enough="(~np.isnan(understood)).mean(axis=1) >= 0.5").replace("np.nan", "np.array(np.nan)"),
         r"exactly half"),
        ("always a share", """
def critical_share(shares, understood):
    enough = (~np.isnan(understood)).mean(axis=1) > 0.5
    return shares[np.logical_and.accumulate(enough[::-1])[::-1].argmax()]
""", r"should be NaN where there is none"),
        ("the row", """
def critical_share(shares, understood):
    enough = (~np.isnan(understood)).mean(axis=1) > 0.5
    return np.logical_and.accumulate(enough[::-1])[::-1].argmax()
""", r"number of the row"),
    ],
}  # fmt: skip

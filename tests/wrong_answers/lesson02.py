"""Usual mistakes in the exercises of lesson 02, and the words by which each must be diagnosed."""

SHARE = "before, after, points = check.two_moments(seed=CLASS_SEED)\n"
FELL = SHARE + "fell = (crossed(before, points).double() - crossed(after, points).double()).mean(0).numpy()\n"

WRONG = {
    "02-fates": [
        ("along the wrong axis", """
def fates(z):
    on, dead = (z > 0).all(dim=1), (z <= 0).all(dim=1)
    return int((~on & ~dead).sum()), int(on.sum()), int(dead.sum())
""", r"add up to 4, but z has 10 units.*columns are units"),
        ("zero counted as active", """
def fates(z):
    on, dead = (z >= 0).all(dim=0), (z < 0).all(dim=0)
    return int((~on & ~dead).sum()), int(on.sum()), int(dead.sum())
""", r"exactly 0 is silent"),
        ("dead and on exchanged", """
def fates(z):
    on, dead = (z > 0).all(dim=0), (z <= 0).all(dim=0)
    return int((~on & ~dead).sum()), int(dead.sum()), int(on.sum())
""", r"dead and always on are exchanged"),
        ("order of the answer", """
def fates(z):
    on, dead = (z > 0).all(dim=0), (z <= 0).all(dim=0)
    return int(dead.sum()), int(on.sum()), int((~on & ~dead).sum())
""", r"order should be bending, always on, dead"),
        ("the sign of the mean", """
def fates(z):
    mean = z.mean(dim=0)
    return int((mean == 0).sum()), int((mean > 0).sum()), int((mean < 0).sum())
""", r"one point with another sign is enough"),
        ("masks instead of counts", """
def fates(z):
    on, dead = (z > 0).all(dim=0), (z <= 0).all(dim=0)
    return ~on & ~dead, on, dead
""", r"should have shape \(3,\), got \(3, 10\)"),
    ],
    "02-turning": [
        ("lowest and highest of all", """
def turning_points(curve):
    return int(curve.argmin()), int(curve.argmax())
""", r"bottom has to come before the top"),
        ("lowest before the highest", """
def turning_points(curve):
    top = int(curve.argmax())
    return int(curve[: top + 1].argmin()), top
""", r"highest value of all may stand before the fall"),
        ("the steepest step", """
def turning_points(curve):
    step = int(np.diff(curve).argmax())
    return step, step + 1
""", r"one single step: the rise may take many"),
        ("the first rise", """
def turning_points(curve):
    bottom = 0
    while bottom + 1 < len(curve) and curve[bottom + 1] <= curve[bottom]:
        bottom += 1
    top = bottom
    while top + 1 < len(curve) and curve[top + 1] >= curve[top]:
        top += 1
    return bottom, top
""", r"but there is one of"),
        ("no answer for a falling curve", """
def turning_points(curve):
    pairs = [(curve[j] - curve[i], i, j) for i in range(len(curve)) for j in range(i, len(curve))]
    return max(pairs)[1:]
""", r"only falls has no rise: return \(0, 0\)"),
        ("values, not positions", """
def turning_points(curve):
    return curve.min(), curve.max()
""", r"should be positions from 0 to 6"),
    ],
    "02-band": [
        ("areas forgotten", """
def concentration(pieces, boundary, spread, width):
    lengths = (pieces[:, 1] - pieces[:, 0]).norm(dim=1)
    near = torch.cdist(pieces.mean(dim=1), boundary).amin(dim=1) < width
    return float(lengths[near].sum() / lengths[~near].sum())
""", r"not lengths for each area"),
        ("pieces counted", """
def concentration(pieces, boundary, spread, width):
    near = torch.cdist(pieces.mean(dim=1), boundary).amin(dim=1) < width
    area = (torch.cdist(spread, boundary).amin(dim=1) < width).double().mean()
    return float(near.sum() / area / ((~near).sum() / (1 - area)))
""", r"short ones weigh as much"),
        ("pieces counted, areas forgotten", """
def concentration(pieces, boundary, spread, width):
    near = torch.cdist(pieces.mean(dim=1), boundary).amin(dim=1) < width
    return float(near.sum() / (~near).sum())
""", r"take their lengths, and divide each sum by its area"),
        ("against the whole window", """
def concentration(pieces, boundary, spread, width):
    lengths = (pieces[:, 1] - pieces[:, 0]).norm(dim=1)
    near = torch.cdist(pieces.mean(dim=1), boundary).amin(dim=1) < width
    area = (torch.cdist(spread, boundary).amin(dim=1) < width).double().mean()
    return float(lengths[near].sum() / area / lengths.sum())
""", r"against the whole window"),
        ("upside down", """
def concentration(pieces, boundary, spread, width):
    lengths = (pieces[:, 1] - pieces[:, 0]).norm(dim=1)
    near = torch.cdist(pieces.mean(dim=1), boundary).amin(dim=1) < width
    area = (torch.cdist(spread, boundary).amin(dim=1) < width).double().mean()
    return float(lengths[~near].sum() / (1 - area) / (lengths[near].sum() / area))
""", r"elsewhere against near"),
        ("squared distances", """
def concentration(pieces, boundary, spread, width):
    lengths = (pieces[:, 1] - pieces[:, 0]).norm(dim=1)
    near = torch.cdist(pieces.mean(dim=1), boundary).amin(dim=1) ** 2 < width
    area = (torch.cdist(spread, boundary).amin(dim=1) ** 2 < width).double().mean()
    return float(lengths[near].sum() / area / (lengths[~near].sum() / (1 - area)))
""", r"a distance is not its square"),
        ("all pairs of distances", """
def concentration(pieces, boundary, spread, width):
    lengths = (pieces[:, 1] - pieces[:, 0]).norm(dim=1)
    return lengths[torch.cdist(pieces.mean(dim=1), boundary) < width]
""", r"raised IndexError"),
    ],
    "02-share": [
        ("dead units alone", FELL + "states = unit_states(partition(after))\n"
         "share = float(fell[states == -1].sum() / fell.sum())", r"always on have no line either"),
        ("always-on units alone", FELL + "states = unit_states(partition(after))\n"
         "share = float(fell[states == 1].sum() / fell.sum())", r"dead units have no line either"),
        ("share of the units", SHARE + "share = float((unit_states(partition(after)) != 0).mean())",
         r"share of the units, not their share of the fall"),
        ("divided by what was there", FELL + "gone = unit_states(partition(after)) != 0\n"
         "share = float(fell[gone].sum() / crossed(before, points).double().mean(0).sum())",
         r"divide by the fall"),
        ("those that stay", FELL + "gone = unit_states(partition(after)) != 0\n"
         "share = float(fell[~gone].sum() / fell.sum())", r"units that stay"),
        ("rises left out", FELL + "gone = unit_states(partition(after)) != 0\nfell = np.maximum(fell, 0)\n"
         "share = float(fell[gone].sum() / fell.sum())", r"with its sign"),
    ],
}

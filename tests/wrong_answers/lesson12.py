"""Usual mistakes in the exercises of lesson 12, and the words by which each must be diagnosed."""

_MINE = """
def mine_by_hand(active, y, delta):
    shares = torch.stack([active[y == k].double().mean(dim=0) for k in range(int(y.max()) + 1)])
    return {on}, {off}
"""

_TALLY = """
def tally(follow, y):
    own = torch.nn.functional.one_hot(y, follow.shape[1]).bool()
    recall, strangers = follow[own].double().mean(), follow[~own].double().mean()
    return {recall}, {strangers}
"""

_COVERAGE = """
def accuracy_at(score, right, coverage):
    n = round(coverage * len(score))
    edge = score.sort().values[n - 1]
    {rest}
"""

_TELLING_OF = """
net, part = check.class_network(seed=CLASS_SEED)
patterns = naps.mine(net, part.{x}, part.{y}, delta={delta}).values()
on = torch.stack([torch.cat(nap.active) for nap in patterns]).any(0)
off = torch.stack([torch.cat(nap.inactive) for nap in patterns]).any(0)
telling = int((on & off)[{units}].sum())
"""

_TELLING = """
net, part = check.class_network(seed=CLASS_SEED)
patterns = naps.mine(net, part.x_train, part.y_train, delta=0.95).values()
on = torch.stack([torch.cat(nap.active) for nap in patterns])
off = torch.stack([torch.cat(nap.inactive) for nap in patterns])
telling = int(({units}).sum())
"""

WRONG = {
    "12-mine": [
        ("strictly more", _MINE.format(on="shares > delta", off="1 - shares > delta"),
         r"exactly a share delta belongs to it"),
        ("off is not on", _MINE.format(on="shares >= delta", off="shares < delta"),
         r"need not be often off"),
        ("never only", _MINE.format(on="shares >= delta", off="shares == 0"),
         r"only units that are never on"),
        ("the masks exchanged", _MINE.format(on="1 - shares >= delta", off="shares >= delta"),
         r"these are the units that are off"),
        ("more than a half", _MINE.format(on="shares > 0.5", off="shares < 0.5"), r"more than a half"),
        ("all classes together", "def mine_by_hand(active, y, delta):\n"
         "    share = active.double().mean(0).expand(int(y.max()) + 1, -1)\n"
         "    return share >= delta, 1 - share >= delta", r"each class has a pattern of its own"),
        ("divided by all", "def mine_by_hand(active, y, delta):\n"
         "    share = torch.stack([active[y == k].sum(0) for k in range(int(y.max()) + 1)]) / len(y)\n"
         "    return share >= delta, 1 - share >= delta", r"number of all samples"),
        ("shares, not masks", _MINE.format(on="shares", off="1 - shares"), r"True and False"),
        ("one class", "def mine_by_hand(active, y, delta):\n    share = active[y == 0].double().mean(0)\n"
         "    return share >= delta, 1 - share >= delta", r"should have shape \(3, 30\)"),
        ("lists, right on three classes alone", "def mine_by_hand(active, y, delta):\n"
         "    shares = [active[y == k].double().mean(0) for k in range(3)]\n"
         "    return [s >= delta for s in shares], [1 - s >= delta for s in shares]",
         r"should have shape \(10, 40\)"),
    ],
    "12-tally": [
        ("any pattern", _TALLY.format(recall="follow.any(1).double().mean()", strangers="strangers"),
         r"follows any pattern"),
        ("all pairs", _TALLY.format(recall="recall", strangers="(follow & ~own).double().mean()"),
         r"only pairs of an image and another class count"),
        ("own ones too", _TALLY.format(recall="recall", strangers="follow.double().mean()"),
         r"are no strangers"),
        ("ambiguous", _TALLY.format(recall="recall", strangers="(follow.sum(1) >= 2).double().mean()"),
         r"follow two or more"),
        ("images, not pairs", _TALLY.format(recall="recall",
         strangers="(follow & ~own).any(1).double().mean()"), r"count pairs"),
        ("by images", _TALLY.format(recall="recall", strangers="(follow & ~own).sum() / len(y)"),
         r"K - 1 pairs"),
        ("the other way round", _TALLY.format(recall="strangers", strangers="recall"),
         r"return the recall first"),
        ("the mean of classes", _TALLY.format(strangers="strangers", recall="torch.stack("
         "[follow[y == k, k].double().mean() for k in range(follow.shape[1])]).mean()"),
         r"mean of the classes' recalls: count images"),
        ("a table of columns", _TALLY.format(recall="follow[:, y].double().mean()", strangers="strangers"),
         r"of each row take one column"),
        ("one number", "def tally(follow, y):\n    return 0.5", r"return two numbers"),
    ],
    "12-coverage": [
        ("by order", _COVERAGE.format(
            rest="return right[score.argsort(stable=True)[:n]].double().mean()"),
         r"must not be chosen by their order"),
        ("by whatever order, cut off", _COVERAGE.replace("round(", "int(").format(
            rest="return right[score.argsort()[:n]].double().mean()"),
         r"changes with the order of the images"),
        ("the strangest", _COVERAGE.format(
            rest="return right[score.argsort(stable=True, descending=True)[:n]].double().mean()"),
         r"you took the strangest"),
        ("the whole last level", _COVERAGE.format(rest="return right[score <= edge].double().mean()"),
         r"all images at the last level"),
        ("without the last level", _COVERAGE.format(
            rest="below = score < edge\n    return right[below].double().mean() if below.any() "
                 "else right[~below & (score == edge)].double().mean()"),
         r"left the last level out"),
        ("divided by all", _COVERAGE.format(
            rest="below, at_edge = score < edge, score == edge\n    room = n - below.sum()\n    return "
                 "((right & below).sum() + room * right[at_edge].double().mean()).item() / len(score)"),
         r"divide by the number that is answered|is not right"),
        ("all images", "def accuracy_at(score, right, coverage):\n    return right.double().mean()",
         r"accuracy of all images"),
        ("cut off, not rounded", _COVERAGE.replace("round(", "int(").format(
            rest="below, at_edge = score < edge, score == edge\n    room = n - below.sum()\n    return "
                 "((right & below).sum() + room * right[at_edge].double().mean()).item() / n"),
         r"you answered one too few: .* 28\.999"),
        ("drawn", _COVERAGE.format(
            rest="mixed = torch.randperm(len(score))\n    first = mixed[score[mixed].argsort(stable=True)]\n"
                 "    return right[first[:n]].double().mean()"),
         r"your answer changes from call to call"),
    ],
    "12-telling": [
        ("fixed by any", _TELLING.format(units="(on | off).any(0)"), r"any class fixes"),
        ("shared", _TELLING.format(units="on.all(0) | off.all(0)"), r"all classes fix alike"),
        ("some class on", _TELLING.format(units="on.any(0)"), r"some class has on"),
        ("fixed and not shared", _TELLING.format(units="(on | off).any(0) & ~(on.all(0) | off.all(0))"),
         r"leaves open does not tell"),
        ("at another delta", _TELLING_OF.format(x="x_train", y="y_train", delta=0.99, units=":"),
         r"at delta = 0\.99: mine at 0\.95"),
        ("of the test images", _TELLING_OF.format(x="x_test", y="y_test", delta=0.95, units=":"),
         r"mine from the \*training\* images"),
        ("the last layer", _TELLING_OF.format(x="x_train", y="y_train", delta=0.95, units="-64:"),
         r"count in all three"),
        ("some class off", _TELLING.format(units="off.any(0)"), r"some class has off"),
    ],
}  # fmt: skip

"""Usual mistakes in the exercises of lesson 10, and the words by which each must be diagnosed."""

_TOGETHER = """
def all_together(model, found, x, y, eps):
    clean = model(x).argmax(1) == y
    stands = torch.stack([model(x_adv).argmax(1) == y for x_adv in found])
    inside = (found - x).abs().amax(2) <= eps + 1e-6
    {rest}
"""

_CROSSINGS = """
def crossings(model, a, b, n):
    h, count = torch.stack([a + k / n * (b - a) for k in range({points})]), 0
    states = []
    for layer in model:
        h = layer(h)
        if isinstance(layer, torch.nn.{kind}):
            states.append(h > 0)
    {rest}
"""

_WAY = """
model, x, x_adv, y = check.class_way(seed=CLASS_SEED)
line = on_segment(model, x, x_adv)
outputs = model(line.lift([0.0, line.breakpoints[0], 1.0])).detach()
rest = outputs.clone()
rest[:, y] = -torch.inf
margins = outputs[:, y] - rest.amax(dim=1)
share = float({share})
"""

WRONG = {
    "10-given": [
        ("of all images", "def given_correct(y, clean, attacked):\n"
         "    return ((clean == y) & (attacked == y)).double().mean().item()",
         r"you divided by all images|of nothing there is no share"),
        ("a ratio of accuracies", "def given_correct(y, clean, attacked):\n"
         "    return ((attacked == y).sum() / (clean == y).sum()).item()",
         r"wrong and became right by accident"),
        ("accuracy under attack", "def given_correct(y, clean, attacked):\n"
         "    return (attacked == y).double().mean()", r"accuracy under attack, of all images"),
        ("answers that stay", "def given_correct(y, clean, attacked):\n"
         "    return (attacked == clean).double().mean()", r"did not change, right or wrong"),
        ("a number of images", "def given_correct(y, clean, attacked):\n"
         "    return ((clean == y) & (attacked == y)).sum()", r"that is how many they are"),
        ("percent", "def given_correct(y, clean, attacked):\n    right = clean == y\n"
         "    return 100 * (attacked == y)[right].double().mean()", r"in percent"),
        ("NaN in words", "def given_correct(y, clean, attacked):\n    right = clean == y\n"
         "    return (attacked == y)[right].double().mean() if right.any() else 'nan'",
         r"you return 'nan': of nothing"),
        ("zero for nothing", "def given_correct(y, clean, attacked):\n    right = clean == y\n"
         "    return ((attacked == y) & right).sum().item() / max(1, right.sum().item())",
         r"of nothing there is no share"),
    ],
    "10-together": [
        ("the best attack", _TOGETHER.format(
            rest="return (clean & (stands | ~inside)).double().mean(1).min()"),
         r"an image must survive all"),
        ("the ball forgotten", _TOGETHER.format(rest="return (clean & stands.all(0)).double().mean()"),
         r"images outside the ball prove nothing"),
        ("the mean", _TOGETHER.format(rest="return (clean & (stands | ~inside)).double().mean()"),
         r"that is the mean over the attacks"),
        ("one is enough", _TOGETHER.format(rest="return (clean & (stands | ~inside).any(0)).double().mean()"),
         r"survives one of the attacks"),
        ("x forgotten", _TOGETHER.format(rest="return (stands | ~inside).all(0).double().mean()"),
         r"what the network says at x itself"),
        ("the other norm", _TOGETHER.format(
            rest="far = (found - x).norm(dim=2) > eps + 1e-6\n"
                 "    return (clean & (stands | far).all(0)).double().mean()"), r"Euclidean norm"),
        ("outside is a defeat", _TOGETHER.format(
            rest="return (clean & (stands & inside).all(0)).double().mean()"), r"does not count \*against\*"),
        ("inside left out", _TOGETHER.format(
            rest="return (clean & (stands | inside).all(0)).double().mean()"), r"left out the images inside"),
        ("no room for rounding", _TOGETHER.format(
            rest="far = (found - x).abs().amax(2) > eps\n"
                 "    return (clean & (stands | far).all(0)).double().mean()"), r"allow 1e-6 more"),
        ("an attack as a whole", _TOGETHER.format(
            rest="stands = stands[inside.all(1)]\n"
                 "    return (clean & stands.all(0)).double().mean()"), r"look at each image by itself"),
        ("of those right at x", _TOGETHER.format(
            rest="return ((clean & (stands | ~inside).all(0)).sum() / clean.sum()).item()"),
         r"right at x: divide by all"),
        ("no absolute value", _TOGETHER.format(
            rest="far = (found - x).amax(2) > eps + 1e-6\n"
                 "    return (clean & (stands | far).all(0)).double().mean()"), r"too dark"),
    ],
    "10-crossings": [
        ("the output too", _CROSSINGS.format(
            points="n + 1", kind="Linear", rest="return sum((s[1:] != s[:-1]).sum().item() for s in states)"),
         r"the output layer has no ReLU"),
        ("steps, not units", _CROSSINGS.format(
            points="n + 1", kind="ReLU",
            rest="s = torch.cat(states, 1)\n    return (s[1:] != s[:-1]).any(1).sum().item()"),
         r"count every unit that does"),
        ("units, not changes", _CROSSINGS.format(
            points="n + 1", kind="ReLU",
            rest="s = torch.cat(states, 1)\n    return (s[1:] != s[:-1]).any(0).sum().item()"),
         r"count how often each does"),
        ("the ends only", _CROSSINGS.format(
            points="n + 1", kind="ReLU",
            rest="s = torch.cat(states, 1)\n    return (s[0] != s[-1]).sum().item()"),
         r"compared the two ends only|count how often each does"),
        ("one point short", _CROSSINGS.format(
            points="n", kind="ReLU", rest="return sum((s[1:] != s[:-1]).sum().item() for s in states)"),
         r"n \+ 1 points, with both ends"),
        ("one step short", _CROSSINGS.format(
            points="n + 1", kind="ReLU", rest="return sum((s[1:] != s[:-1]).sum().item() for s in states)"
        ).replace("k / n", "k / (n - 1)").replace("range(n + 1)", "range(n)"), r"you have one point less"),
        ("not below zero", _CROSSINGS.format(
            points="n + 1", kind="ReLU", rest="return sum((s[1:] != s[:-1]).sum().item() for s in states)"
        ).replace("h > 0", "h >= 0"), r"behind a ReLU nothing is below 0"),
        ("the exact count", "def crossings(model, a, b, n):\n"
         "    return len(on_segment(model, a, b).breakpoints)", r"count what n \+ 1 points see"),
        ("the other axis", _CROSSINGS.format(
            points="n + 1", kind="ReLU",
            rest="return sum((s[:, 1:] != s[:, :-1]).sum().item() for s in states)"),
         r"each unit with itself"),
    ],
    "10-share": [
        ("the place", _WAY.format(share="line.breakpoints[0]"), r"place of the first breakpoint"),
        ("not divided", _WAY.format(share="margins[0] - margins[1]"),
         r"divide by the fall over the whole way"),
        ("the rest", _WAY.format(share="(margins[1] - margins[2]) / (margins[0] - margins[2])"),
         r"after the first breakpoint"),
        ("of the margin", _WAY.format(share="(margins[0] - margins[1]) / margins[0]"),
         r"divided by the margin at x"),
        ("one output", _WAY.format(share="(outputs[0, y] - outputs[1, y]) / (outputs[0, y] - outputs[2, y])"),
         r"output of class y alone"),
        ("the lead over itself", _WAY.format(
            share="(outputs[0, y] - outputs[0].max()) / margins[2]"), r"leave y out"),
        ("what is left", _WAY.format(share="margins[1] / margins[0]"), r"share of the margin that is left"),
        ("percent", _WAY.format(share="100 * (margins[0] - margins[1]) / (margins[0] - margins[2])"),
         r"in percent"),
        ("one rival", _WAY.replace("amax(dim=1)", "select(1, int(rest[0].argmax()))").format(
            share="(margins[0] - margins[1]) / (margins[0] - margins[2])"), r"followed one rival"),
    ],
}  # fmt: skip

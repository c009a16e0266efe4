"""Usual mistakes in the exercises of lesson 03, and the words by which each must be diagnosed."""

_COMPLEXITY = """
def complexity(model, x, radius, frame):
    h = x[:, None] + radius * torch.cat([frame, -frame])
    middle, count = x, 0
    for layer in model:
        {before}
        h, middle = layer(h), layer(middle)
    {after}
    return count
"""


def _complexity(line: str, after: str = "") -> str:
    return _COMPLEXITY.format(before="if isinstance(layer, nn.ReLU):\n            " + line, after=after)


_NEAREST = """
def nearest_bend(model, x):
    A, b, found = torch.eye(len(x), dtype=x.dtype), torch.zeros_like(x), []
    for layer in model:
        if isinstance(layer, nn.Linear):
            A, b, w = layer.weight @ A, layer.weight @ b + layer.bias, layer.weight
            {each}
        else:
            {units}
            active = (A @ x + b > 0).to(x.dtype)
            A, b = active[:, None] * A, active * b
    return {result}
"""

WRONG = {
    "03-corners": [
        ("around the origin", "def corners(x, radius, frame):\n"
         "    return radius * torch.cat([frame, -frame]).expand(len(x), -1, -1)",
         r"around the origin: add each point x"),
        ("no radius", "def corners(x, radius, frame):\n    return x[:, None] + torch.cat([frame, -frame])",
         r"the radius is missing"),
        ("one side only", "def corners(x, radius, frame):\n    return x[:, None] + radius * frame",
         r"should have shape \(3, 4, 5\), got \(3, 2, 5\)"),
        ("one side twice", "def corners(x, radius, frame):\n"
         "    return x[:, None] + radius * torch.cat([frame, frame])",
         r"the opposite corners x - r v are missing"),
        ("corners first", "def corners(x, radius, frame):\n"
         "    return x + radius * torch.cat([frame, -frame])[:, None]",
         r"should have shape \(3, 4, 5\), got \(4, 3, 5\)"),
        ("along the axes", "def corners(x, radius, frame):\n"
         "    axes = torch.eye(x.shape[1], dtype=x.dtype)[:len(frame)]\n"
         "    return x[:, None] + radius * torch.cat([axes, -axes])",
         r"`the corners` is not right"),
    ],
    "03-complexity": [
        ("the first layer only", """
def complexity(model, x, radius, frame):
    z = model[0](x[:, None] + radius * torch.cat([frame, -frame]))
    return (z.sign().amin(1) != z.sign().amax(1)).sum(1)
""", r"only the first layer is in it"),
        ("the output too", _complexity(
            "count = count + (h.sign() != h.sign()[:, :1]).any(1).sum(1)",
            "count = count + (h.sign() != h.sign()[:, :1]).any(1).sum(1)"),
         r"the output is no unit"),
        ("corners, not units", _complexity("count = count + (h.sign() != h.sign()[:, :1]).sum((1, 2))"),
         r"a unit counts once"),
        ("against the middle", _complexity(
            "count = count + (h.sign() != middle.sign()[:, None]).any(1).sum(1)"),
         r"compare them with each other"),
        ("opposite corners", _complexity("p = len(frame); "
         "count = count + (h[:, :p].sign() != h[:, p:].sign()).any(1).sum(1)"),
         r"compare only opposite corners"),
        ("the calm units", _complexity("count = count + (h.sign() == h.sign()[:, :1]).all(1).sum(1)"),
         r"units that do not change"),
        ("not summed", _complexity("count = (h.sign() != h.sign()[:, :1]).any(1)"),
         r"should have shape \(40,\), got \(40, 6\)"),
    ],
    "03-coordinates": [
        ("no origin", """
def plane_coordinates(x, a, b, c):
    u = (b - a) / (b - a).norm()
    v = (c - a) - ((c - a) @ u) * u
    return x @ torch.stack([u, v / v.norm()]).T
""", r"a should be the origin"),
        ("no right angle", """
def plane_coordinates(x, a, b, c):
    u, v = (b - a) / (b - a).norm(), (c - a) / (c - a).norm()
    return (x - a) @ torch.stack([u, v]).T
""", r"not at right angles"),
        ("no unit length", """
def plane_coordinates(x, a, b, c):
    u = b - a
    v = (c - a) - ((c - a) @ u) / (u @ u) * u
    return (x - a) @ torch.stack([u, v]).T
""", r"do not have length 1"),
        ("shares of the sides", """
def plane_coordinates(x, a, b, c):
    return (x - a) @ torch.linalg.pinv(torch.stack([b - a, c - a]))
""", r"shares of b - a and c - a"),
        ("axes exchanged", """
def plane_coordinates(x, a, b, c):
    u = (b - a) / (b - a).norm()
    v = (c - a) - ((c - a) @ u) * u
    return (x - a) @ torch.stack([v / v.norm(), u]).T
""", r"the axes are exchanged"),
    ],
    "03-missed": [
        ("all breakpoints", "missed = len(on_segment(*check.two_digits(seed=CLASS_SEED)).breakpoints)",
         r"number of all breakpoints"),
        ("regions", "missed = on_segment(*check.two_digits(seed=CLASS_SEED)).n_regions",
         r"the number of regions"),
        ("units, not breakpoints", """
segment = on_segment(*check.two_digits(seed=CLASS_SEED))
missed = int((np.unique(segment.neurons, axis=0, return_counts=True)[1] > 1).sum())
""", r"not their breakpoints"),
        ("what the ends tell", """
segment = on_segment(*check.two_digits(seed=CLASS_SEED))
missed = int((np.unique(segment.neurons, axis=0, return_counts=True)[1] % 2).sum())
""", r"what the two ends do tell"),
        ("no number", "missed = 'many'", r"should hold real numbers"),
    ],
    "03-nearest": [
        ("the first layer only", """
def nearest_bend(model, x):
    z = model[0](x)
    return (z.abs() / model[0].weight.norm(dim=1)).min()
""", r"the first layer alone"),
        ("not divided", _NEAREST.format(
            each="pass", units="found.append((A @ x + b).abs())", result="torch.cat(found).min()"),
         r"divide by the length of its gradient"),
        ("the output too", _NEAREST.format(
            each="found.append((A @ x + b).abs() / A.norm(dim=1))", units="pass",
            result="torch.cat(found).min()"),
         r"the output is no unit"),
        ("the unit's own weights", _NEAREST.format(
            each="pass", units="found.append((A @ x + b).abs() / w.norm(dim=1))",
            result="torch.cat(found).min()"),
         r"the gradient with respect to x"),
        ("all distances", _NEAREST.format(
            each="pass", units="found.append((A @ x + b).abs() / A.norm(dim=1))", result="torch.cat(found)"),
         r"should be one number"),
    ],
}  # fmt: skip

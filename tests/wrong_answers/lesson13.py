"""Usual mistakes in the exercises of lesson 13, and the words by which each must be diagnosed."""

_ROOM = """
def room_top(net, x, label, rival, low, high):
    A, c, walls, rest = np.eye(len(x)), np.zeros(len(x)), [], []
    for layer in net:
        if isinstance(layer, nn.Linear):
            W, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            A, c = W @ A, W @ c + b
        else:
            on = {on}
            side = np.where(on, 1.0, -1.0)
            {walls}
            A, c = {after}
    slope, offset = A[rival] - A[label], c[rival] - c[label]
    {found}
    return {result}
"""
_WALLS = "walls.append(side[:, None] * A), rest.append(side * c)"
_LP = "linprog({slope}, A_ub=-np.vstack(walls), b_ub=np.concatenate(rest){bounds})"


def _room(
    on: str = "A @ x + c > 0",
    walls: str = _WALLS,
    after: str = "A * on[:, None], c * on",
    slope: str = "-slope",
    bounds: str = ", bounds=(low, high)",
    result: str = "found.x, offset - found.fun",
    found: str = _LP,
) -> str:
    found = "found = " + found.format(slope=slope, bounds=bounds)
    return _ROOM.format(on=on, walls=walls, after=after, found=found, result=result)


def _line(body: str) -> str:
    return f"def line_above(least, most):\n    {body}"


def _spare(body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.strip("\n").split("\n"))
    return f"def spare(nap, sufficient):\n{lines}\n"


_QUESTION = "net, image, label = check.your_question(CLASS_SEED)\n"

WRONG = {
    "13-room": [
        (
            "the lowest point",
            _room(slope="slope", result="found.x, offset + found.fun"),
            r"that is the lowest point of the room",
        ),
        (
            "the sign of the value",
            _room(result="found.x, -(offset - found.fun)"),
            r"with its sign turned round",
        ),
        ("no box", _room(bounds=""), r"outside the box"),
        (
            "no walls",
            _room(found="linprog({slope}, bounds=(low, high))"),
            r"left the room of x through a wall of layer 1",
        ),
        (
            "walls of the first layer only",
            _room(walls="(walls.append(side[:, None] * A), rest.append(side * c)) if not walls else None"),
            r"through a wall of layer 2",
        ),
        (
            "the offset is forgotten",
            _room(result="found.x, -found.fun"),
            r"an offset, which is missing",
        ),
        (
            "the offset turned round as well",
            _room(result="found.x, -(found.fun + offset)"),
            r"the offset has the wrong sign",
        ),
        (
            "the sign of linprog's value",
            _room(result="found.x, found.fun + offset"),
            r"turn the sign of what `linprog` returns",
        ),
        ("no ReLU", _room(after="A, c"), r"is not right|left the room"),
        ("one thing", _room(result="found.x"), r"expected two things"),
    ],
    "13-line": [
        (
            "the triangle for all",
            _line("return most / (most - least + 1e-300), -most * least / (most - least + 1e-300)"),
            r"is not above it|holds NaN|always on needs no triangle",
        ),
        (
            "a division by zero",
            _line(
                "with np.errstate(all='ignore'):\n"
                "        slope = (np.maximum(most, 0) - np.maximum(least, 0)) / (most - least)\n"
                "    return slope, np.maximum(least, 0) - slope * least"
            ),
            r"do not divide by 0",
        ),
        (
            "parallel to u = z",
            _line("return np.ones_like(least), np.maximum(-least, 0)"),
            r"not the lowest",
        ),
        ("the constant", _line("return np.zeros_like(least), np.maximum(most, 0)"), r"not the lowest"),
        ("the unit itself", _line("return (most > 0) * 1.0, 0 * least"), r"is not above it"),
        ("one array", _line("return most"), r"expected two arrays"),
    ],
    "13-drop": [
        (
            "each alone",
            _spare("""
kept = [fixed.clone() for fixed in nap.fixed]
for layer, fixed in enumerate(nap.fixed):
    for unit in fixed.nonzero()[:, 0].tolist():
        if sufficient(nap.without(layer, unit)):
            kept[layer][unit] = False
return nap.keep(kept)
"""),
            r"cannot always be spared together",
        ),
        (
            "stops at the first that is needed",
            _spare("""
for layer, fixed in enumerate(nap.fixed):
    for unit in fixed.nonzero()[:, 0].tolist():
        if not sufficient(nap.without(layer, unit)):
            return nap
        nap = nap.without(layer, unit)
return nap
"""),
            r"a unit of layer [12] can still be spared: `\.without\([01], \d\)`",
        ),
        (
            "again and again",
            _spare("""
again = True
while again:
    again = False
    for layer, fixed in enumerate(nap.fixed):
        for unit in fixed.nonzero()[:, 0].tolist():
            if sufficient(nap.without(layer, unit)):
                nap, again = nap.without(layer, unit), True
return nap
"""),
            r"one round is enough",
        ),
        (
            "asks about nap first",
            _spare("""
if not sufficient(nap):
    return nap
for layer, fixed in enumerate(nap.fixed):
    for unit in fixed.nonzero()[:, 0].tolist():
        if sufficient(nap.without(layer, unit)):
            nap = nap.without(layer, unit)
return nap
"""),
            r"ask only about coarser patterns",
        ),
        ("nothing freed", _spare("return nap"), r"can still be spared"),
        ("a number", _spare("return nap.size"), r"expected a pattern, got int"),
    ],
    "13-class": [
        (
            "the counterexample's distance",
            _QUESTION + "certified = verify.largest_eps(net, label, image).refuted + 0.001",
            r"only 'verified' is a proof",
        ),
        ("stops early", _QUESTION + "certified = 0.001", r"more can be proved"),
        (
            "in shades",
            _QUESTION + "certified = 16 * verify.largest_eps(net, label, image).eps + 1",
            r"a change of a pixel",
        ),
        ("no number", _QUESTION + "certified = 'far'", r"should hold real numbers"),
    ],
}

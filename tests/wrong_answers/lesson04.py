"""Usual mistakes in the exercises of lesson 04, and the words by which each must be diagnosed."""

_BY_HAND = """
def adding_network(x, p, k, u, v):
    turn = 2 * torch.pi * k / p
    a, b, c = x[:, :1], x[:, 1:], torch.arange(p)[:, None]
    first, second = torch.cos(turn * a + u), torch.cos(turn * b + v)
    h = {hidden}
    return h @ torch.cos(turn * c + {phase}).T
"""


def _by_hand(hidden: str = "(first + second) ** 2", phase: str = "u + v") -> str:
    return _BY_HAND.format(hidden=hidden, phase=phase)


WRONG = {
    "04-by-hand": [
        ("the wrong sign", _by_hand(phase="(-u - v)"), r"wrong sign in its phase"),
        ("an output phase of its own", _by_hand(phase="0 * u"), r"the output waves have no phase"),
        ("one phase only", _by_hand(phase="u"), r"of one wave only"),
        ("the other phase only", _by_hand(phase="v"), r"of the wave of b only"),
        ("a network that subtracts", _by_hand(phase="u - v"), r"this network subtracts"),
        ("no square", _by_hand("first + second"), r"the square is missing"),
        ("a ReLU", _by_hand("(first + second).relu()"), r"that is a ReLU"),
        ("squares of each", _by_hand("first ** 2 + second ** 2"), r"add the two first"),
        ("a product", _by_hand("first * second"), r"which no unit can do"),
        ("the mean", _by_hand("(first + second) ** 2 / len(k)"), r"that is the mean over the units"),
        ("no clock", _by_hand().replace("2 * torch.pi * k / p", "k"), r"do not fit the clock"),
        ("the answers", _by_hand().replace(".T\n", ".T.argmax(1)\n").replace("return h @", "return (h @")
         .replace(".T.argmax(1)", ".T).argmax(1)"), r"should have shape \(49, 7\), got \(49,\)"),
    ],
    "04-elimination": [
        ("the row only", """
x_train, y_train, hours, a, b = check.hidden_pair(seed=CLASS_SEED)
possible = hours - len(set(y_train[x_train[:, 0] == a].tolist()))
""", r"the column has used answers too"),
        ("the column only", """
x_train, y_train, hours, a, b = check.hidden_pair(seed=CLASS_SEED)
possible = hours - len(set(y_train[x_train[:, 1] == b].tolist()))
""", r"the row has used answers too"),
        ("counted twice", """
x_train, y_train, hours, a, b = check.hidden_pair(seed=CLASS_SEED)
possible = hours - int((x_train[:, 0] == a).sum()) - int((x_train[:, 1] == b).sum())
""", r"you took them away twice"),
        ("used up", """
x_train, y_train, hours, a, b = check.hidden_pair(seed=CLASS_SEED)
possible = len(set(y_train[(x_train[:, 0] == a) | (x_train[:, 1] == b)].tolist()))
""", r"not those that are left"),
        ("half an answer", "possible = 2.5", r"should be a whole number"),
    ],
    "04-confound": [
        ("no groups", """
net, its_exam = check.colleague(seed=CLASS_SEED)
accuracies = [training.accuracy(net, its_exam.x_test, its_exam.y_test).item()] * 2
""", r"on all hidden pairs, twice"),
        ("by being right", "accuracies = [1.0, 0.0]", r"find a property of the pair"),
        ("the other order", """
net, its_exam = check.colleague(seed=CLASS_SEED)
mirrored = data.without_mirror(its_exam.x_test)
right = net(its_exam.x_test).argmax(dim=1) == its_exam.y_test
accuracies = [right[~mirrored].double().mean(), right[mirrored].double().mean()]
""", r"the larger accuracy first"),
        ("training against test", """
net, its_exam = check.colleague(seed=CLASS_SEED)
accuracies = [training.accuracy(net, its_exam.x_train, its_exam.y_train).item(),
              training.accuracy(net, its_exam.x_test, its_exam.y_test).item()]
""", r"both groups are of hidden pairs"),
        ("even and odd", """
net, its_exam = check.colleague(seed=CLASS_SEED)
even = its_exam.x_test.sum(1) % 2 == 0
right = net(its_exam.x_test).argmax(dim=1) == its_exam.y_test
accuracies = [right[even].double().mean(), right[~even].double().mean()]
""", r"`accuracies` is not right"),
        ("one number", "accuracies = 0.5", r"should have shape \(2,\)"),
    ],
    "04-multiply": [
        ("the usual order", "def wave_order(p):\n    return list(range(1, p))", r"that is the usual order"),
        ("with the zero", "def wave_order(p):\n    return list(range(p))", r"0 is in your order"),
        ("no generator", "def wave_order(p):\n    return [pow(2, i, p) for i in range(p - 1)]",
         r"come round too early"),
        ("the logarithms themselves", """
def wave_order(p):
    for g in range(2, p):
        powers = [pow(g, i, p) for i in range(p - 1)]
        if len(set(powers)) == p - 1:
            return [powers.index(n) for n in range(1, p)]
""", r"0 is in your order"),
        ("backwards in pairs", "def wave_order(p):\n    return list(range(p - 1, 0, -1))",
         r"different factors"),
        ("not modulo p", "def wave_order(p):\n    return [2**i for i in range(p - 1)]",
         r"should hold the numbers 1 to 6"),
    ],
    "04-recipe": [
        ("another exam", "def recipe_of_mine():\n    return {'fraction': 0.8}", r"the exam stays as it is"),
        ("no dict", "def recipe_of_mine():\n    return [0.03, 1.0]", r"should be a dict such as"),
        ("a square", "def recipe_of_mine():\n    return {'activation': models.Square}",
         r"'activation' is not yours to change"),
        ("too wide", "def recipe_of_mine():\n    return {'width': 4000}", r"the width should be 1 to 256"),
        ("no learning", "def recipe_of_mine():\n    return {'lr': 1e-5, 'width': 8}",
         r"not even learnt their training pairs"),
        ("no decay", "def recipe_of_mine():\n    return {'weight_decay': 0.0}", r"not by step 750"),
        ("a negative rate", "def recipe_of_mine():\n    return {'lr': -1.0}", r"these settings do not train"),
    ],
}  # fmt: skip

"""Usual mistakes in the exercises of lesson 15, and the words by which each must be diagnosed."""

_RIDGE = "def ridge_by_hand(X, y, ridge):\n    return "
_RANK = "def rank_by_hand(spectrum, k):\n    "
_BENDS = """
def expected_bends(a, b, width):
    angle = np.arccos(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1, 1))
    return {}
"""
_FLOW = "def stopped(X, y, t):\n    values, U = np.linalg.eigh(X @ X.T)\n    return "
_SETTING = """
setting = check.setting(seed=CLASS_SEED)
n, k, m, tail, noise, theta = (setting[key] for key in ("n", "k", "m", "tail", "noise", "theta"))
mu = (noise**2 * n**3 * tail**2 / (k * theta**2 * m)) ** 0.25
my_ridge = {}
"""

WRONG = {
    "15-ridge": [
        ("pseudoinverse", _RIDGE + "np.linalg.pinv(X) @ y", r"the ridge is not in it"),
        ("other sign", _RIDGE + "X.T @ np.linalg.solve(X @ X.T - ridge * np.eye(len(y)), y)",
         r"with the other sign"),
        ("times n", _RIDGE + "X.T @ np.linalg.solve(X @ X.T + len(y) * ridge * np.eye(len(y)), y)",
         r"the ridge is not multiplied by n"),
        ("divided by n", _RIDGE + "X.T @ np.linalg.solve(X @ X.T + ridge / len(y) * np.eye(len(y)), y)",
         r"the ridge is not divided by n"),
        ("p x p", _RIDGE + "np.linalg.pinv(X.T @ X + ridge * np.eye(X.shape[1])) @ X.T @ y",
         r"a p x p matrix was formed"),
        ("no eye", _RIDGE + "X.T @ np.linalg.solve(X @ X.T + ridge, y)", r"on the diagonal only"),
        ("alpha", _RIDGE + "np.linalg.solve(X @ X.T + ridge * np.eye(len(y)), y)", r"should have shape"),
        ("negative ridges cut off",
         _RIDGE + "X.T @ np.linalg.solve(X @ X.T + max(ridge, 0) * np.eye(len(y)), y)",
         r"the ridge is not in it"),
        ("negative ridges made positive",
         _RIDGE + "X.T @ np.linalg.solve(X @ X.T + abs(ridge) * np.eye(len(y)), y)",
         r"with the other sign"),
    ],
    "15-rank": [
        ("not sorted", _RANK + "return spectrum[k:].sum() / spectrum[k]", r"sort the spectrum first"),
        ("sorted upwards", _RANK + "s = np.sort(spectrum)\n    return s[k:].sum() / s[k]",
         r"sort from the largest down"),
        ("one early", _RANK + "s = np.sort(spectrum)[::-1]\n    return s[k + 1:].sum() / s[k]",
         r"begins one variance earlier"),
        ("by the head", _RANK + "s = np.sort(spectrum)[::-1]\n    return s[k:].sum() / s[k - 1]",
         r"not by the last of the head"),
        ("later", _RANK + "s = np.sort(spectrum)[::-1]\n"
         "    return s[k + 1:].sum() / s[min(k + 1, len(s) - 1)]",
         r"begins one variance earlier"),
        ("in place", _RANK + "spectrum.sort()\n    s = spectrum[::-1][k:]\n    return s.sum() / s[0]",
         r"changed the spectrum it was given"),
        ("second rank", _RANK + "s = np.sort(spectrum)[::-1][k:]\n    return s.sum()**2 / (s**2).sum()",
         r"second effective rank"),
        ("from 1", _RANK + "s = np.sort(spectrum)[::-1]\n    return s[k - 1:].sum() / s[k - 1]",
         r"begins one variance later"),
        ("cut from below", _RANK + "s = np.sort(spectrum)\n    return s[:-k].sum() / s[-k - 1]",
         r"for k = 0 nothing"),
        ("count", _RANK + "return len(spectrum) - k", r"only the number of variances"),
        ("by the largest", _RANK + "s = np.sort(spectrum)[::-1]\n    return s[k:].sum() / s[0]",
         r"not of all"),
    ],
    "15-best": [
        ("mu", _SETTING.format("mu"), r"take away what the tail brings"),
        ("sign", _SETTING.format("tail - mu"), r"the size is right, the sign is not"),
        ("sigma not squared", _SETTING.format("mu / noise**0.25 - tail"),
         r"sigma stands there with its square"),
        ("theta not squared", _SETTING.format("mu * theta**0.25 - tail"),
         r"theta stands there with its square"),
        ("one head coordinate", _SETTING.format("mu * k**0.25 - tail"), r"all k coordinates"),
        ("no root", _SETTING.format("mu**4 - tail"), r"a fourth root is forgotten"),
        ("n squared", _SETTING.format("mu / n**0.25 - tail"), r"is the power of n right"),
        ("by feeling", _SETTING.format("-2 / 3 * tail"), r"the sign is right, the size is not"),
        ("by the library", "s = check.setting(seed=CLASS_SEED)\n"
         "variances = np.repeat([1.0, s['tail'] / s['m']], [s['k'], s['m']])\n"
         "truths = np.repeat([s['theta'], 0.0], [s['k'], s['m']])\n"
         "my_ridge = theory.best_ridge(variances, truths, s['n'], s['noise'])",
         r"`theory.best_ridge` itself"),
        ("all of T", _SETTING.format("-tail"), r"takes all of T away"),
        ("positive", _SETTING.format("10 * tail"), r"it is not negative"),
        ("below the edge", _SETTING.format("-1.5 * tail"), r"below the edge"),
    ],
    "15-bends": [
        ("half", _BENDS.format("width / 2"), r"a right angle only"),
        ("full turn", _BENDS.format("width * angle / (2 * np.pi)"), r"two opposite sectors"),
        ("the others", _BENDS.format("width * (1 - angle / np.pi)"), r"do not bend"),
        ("not scaled", "def expected_bends(a, b, width):\n"
         "    return width * np.arccos(np.clip(a @ b, -1, 1)) / np.pi", r"by both lengths"),
        ("rounded", _BENDS.format("round(width * angle / np.pi)"), r"not rounded"),
        ("degrees", _BENDS.format("width * np.degrees(angle) / np.pi"), r"is in degrees"),
        ("no pi", _BENDS.format("width * angle"), r"a share of half a turn"),
    ],
    "15-flow": [
        ("the end", _FLOW + "np.linalg.pinv(X) @ y", r"the end of the flow"),
        ("ridge 1 / t", _FLOW + "X.T @ np.linalg.solve(X @ X.T + np.eye(len(y)) / max(t, 1e-9), y)",
         r"near, but not the flow"),
        ("one step", _FLOW + "t * X.T @ y", r"one single step"),
        ("the error", _FLOW + "X.T @ (U @ (np.exp(-t * values) / values * (U.T @ y)))",
         r"it should grow from 0"),
        ("the speed", _FLOW + "X.T @ (U @ (np.exp(-t * values) * (U.T @ y)))", r"not yet summed"),
        ("not turned", _FLOW + "X.T @ (U @ ((1 - np.exp(-t * values)) / values * y))", r"U\.T @ y"),
        ("not divided", _FLOW + "X.T @ (U @ ((1 - np.exp(-t * values)) * (U.T @ y)))", r"has a nu below it"),
        ("mean loss", _FLOW + "X.T @ (U @ ((1 - np.exp(-t * values / len(y))) / values * (U.T @ y)))",
         r"not divided by n"),
        ("many steps", "def stopped(X, y, t):\n    w = np.zeros(X.shape[1])\n    for _ in range(20_000):\n"
         "        w = w + t / 20_000 * X.T @ (y - X @ w)\n    return w", r"holds nan|holds inf|at t = 1e6"),
    ],
}  # fmt: skip

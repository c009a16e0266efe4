"""Wrong answers to the exercises of lesson 05, and what each must be told."""

WRONG = {
    "05-losses": [
        ("gradient flow", "def losses(nu, away, t, eta):\n"
         "    left = away**2 * np.exp(-4 * eta * nu * t[:, None])\n    return left @ nu, left.sum(axis=1)",
         r"gradient flow, whose steps are infinitely small"),
        ("not squared", "def losses(nu, away, t, eta):\n"
         "    left = away**2 * (1 - 2 * eta * nu) ** t[:, None]\n    return left @ nu, left.sum(axis=1)",
         r"the loss has its square"),
        ("no factor two", "def losses(nu, away, t, eta):\n"
         "    left = (away * (1 - eta * nu) ** t[:, None]) ** 2\n    return left @ nu, left.sum(axis=1)",
         r"the gradient of a square has a factor 2"),
        ("train without nu", "def losses(nu, away, t, eta):\n"
         "    left = (away * (1 - 2 * eta * nu) ** t[:, None]) ** 2\n"
         "    return left.sum(axis=1), left.sum(axis=1)", r"each direction counts with its eigenvalue"),
        ("swapped", "def losses(nu, away, t, eta):\n"
         "    left = (away * (1 - 2 * eta * nu) ** t[:, None]) ** 2\n    return left.sum(axis=1), left @ nu",
         r"that is the train loss"),
        ("mean for sum", "def losses(nu, away, t, eta):\n"
         "    left = (away * (1 - 2 * eta * nu) ** t[:, None]) ** 2\n"
         "    return (left * nu).mean(axis=1), left.mean(axis=1)", r"mean over the directions: add them up"),
        ("no axis", "def losses(nu, away, t, eta):\n"
         "    left = (away * (1 - 2 * eta * nu) ** t) ** 2\n    return left @ nu, left.sum()",
         r"could not be broadcast"),
        ("no sum", "def losses(nu, away, t, eta):\n"
         "    left = (away * (1 - 2 * eta * nu) ** t[:, None]) ** 2\n    return left * nu, left",
         r"should have shape \(4,\)"),
    ],
    "05-separable": [
        ("no negative entries", "def separable(x):\n"
         "    return linprog(np.zeros(x.shape[1]), A_ub=-x, b_ub=-np.ones(len(x))).status == 0",
         r"may your w have negative entries"),
        ("zero allowed", "def separable(x):\n"
         "    return linprog(np.zeros(x.shape[1]), A_ub=-x, b_ub=np.zeros(len(x)), "
         "bounds=(None, None)).status == 0", r"ask for w \. x >= 1"),
        ("small w only", "def separable(x):\n"
         "    return linprog(np.zeros(x.shape[1]), A_ub=-x, b_ub=-np.ones(len(x)), "
         "bounds=(-1, 1)).status == 0", r"Is there a bound on w\?"),
        ("the status itself", "def separable(x):\n"
         "    return linprog(np.zeros(x.shape[1]), A_ub=-x, b_ub=-np.ones(len(x)), "
         "bounds=(None, None)).status", r"should return True or False, got int"),
        ("one coordinate", "def separable(x):\n    return bool((x > 0).all(axis=0).any())",
         r"lie on one side"),
    ],
    "05-eps": [
        ("the old delay", "ratio, eps, eta = check.task_eps(seed=CLASS_SEED)\n"
         "delay_of_mine = theory.linear_delay(ratio, eps, eta).delay", r"delay for the old eps"),
        ("the limit", "ratio, eps, eta = check.task_eps(seed=CLASS_SEED)\n"
         "delay_of_mine = theory.linear_delay_limit(ratio, eta)", r"the limit for eps = 0"),
        ("a hundred times", "ratio, eps, eta = check.task_eps(seed=CLASS_SEED)\n"
         "delay_of_mine = 100 * theory.linear_delay(ratio, eps, eta).delay", r"does not grow like 1 / eps"),
        ("the time of the test", "ratio, eps, eta = check.task_eps(seed=CLASS_SEED)\n"
         "delay_of_mine = theory.linear_delay(ratio, eps / 100, eta).test",
         r"take off the time of the train accuracy"),
        ("the ratio", "ratio, eps, eta = check.task_eps(seed=CLASS_SEED)\n"
         "one, two = (theory.linear_delay(ratio, e, eta).delay for e in (eps, eps / 100))\n"
         "delay_of_mine = two / one", r"how many times longer: give the steps"),
        ("a tenth", "ratio, eps, eta = check.task_eps(seed=CLASS_SEED)\n"
         "delay_of_mine = theory.linear_delay(ratio, eps / 10, eta).delay", r"the card says a hundredth"),
        ("a record", "ratio, eps, eta = check.task_eps(seed=CLASS_SEED)\n"
         "delay_of_mine = theory.linear_delay(ratio, eps / 100, eta)", r"should hold real numbers"),
    ],
    "05-wendel": [
        ("one side of each plane", "from math import comb\n\ndef one_side(n, d):\n"
         "    return sum(comb(n - 1, k) for k in range(d)) if n > 1 or d > 1 else 2",
         r"in 2 of the ways|did you count one"),
        ("affine planes", "from math import comb\n\ndef one_side(n, d):\n"
         "    return sum(comb(n, k) for k in range(d + 1))", r"in 2 of the ways"),
        ("one dimension too many", "from math import comb\n\ndef one_side(n, d):\n"
         "    return 2 * sum(comb(n - 1, k) for k in range(d)) if d == 1 else "
         "2 * sum(comb(n - 1, k) for k in range(d + 1))", r"one_side\(3, 2\) is not 8"),
        ("again and again", "def one_side(n, d):\n"
         "    return 2 if min(n, d) == 1 else one_side(n - 1, d) + one_side(n - 1, d - 1)",
         r"takes long.*Keep the results for n - 1 in a row"),
        ("the probability", "def one_side(n, d):\n    return float(theory.separable_probability(n, d))",
         r"in 2 of the ways|should be a whole number"),
        ("one point less", "from math import comb\n\ndef one_side(n, d):\n"
         "    return 2 * sum(comb(max(n - 2, 0), k) for k in range(d))",
         r"on one side however you flip them"),
    ],
    "05-unlearn": [
        ("without A", "def unlearning_time(lam, accuracy, q):\n"
         "    weight = np.log(q / (1 - q) / (1 - 2 * lam)) / (2 * (1 - lam))\n"
         "    return np.exp(ndtri(accuracy) * weight)", r"divide by A$"),
        ("two-sided", "def unlearning_time(lam, accuracy, q):\n"
         "    weight = np.log(q / (1 - q) / (1 - 2 * lam)) / (2 * (1 - lam))\n"
         "    A = q * np.exp(-weight) + (1 - q) * np.exp((1 - 2 * lam) * weight)\n"
         "    return np.exp(ndtri((1 + accuracy) / 2) * weight) / A", r"on one side only"),
        ("the lesson's formula", "def unlearning_time(lam, accuracy, q):\n"
         "    weight = -np.log(1 - 2 * lam) / (2 * (1 - lam))\n"
         "    A = (np.exp(-weight) + np.exp((1 - 2 * lam) * weight)) / 2\n"
         "    return np.exp(ndtri(accuracy) * weight) / A", r"the shares q and 1 - q are missing"),
        ("the sum for A", "def unlearning_time(lam, accuracy, q):\n"
         "    weight = np.log(q / (1 - q) / (1 - 2 * lam)) / (2 * (1 - lam))\n"
         "    A = 2 * q * np.exp(-weight) + 2 * (1 - q) * np.exp((1 - 2 * lam) * weight)\n"
         "    return np.exp(ndtri(accuracy) * weight) / A", r"A has the shares q and 1 - q as they are"),
        ("shares exchanged", "def unlearning_time(lam, accuracy, q):\n"
         "    weight = np.log((1 - q) / q / (1 - 2 * lam)) / (2 * (1 - lam))\n"
         "    A = (1 - q) * np.exp(-weight) + q * np.exp((1 - 2 * lam) * weight)\n"
         "    return np.exp(ndtri(accuracy) * abs(weight)) / A", r"q is the share of the left point"),
        ("always 1.645", "def unlearning_time(lam, accuracy, q):\n"
         "    near = 1 - 2 * lam\n    weight = np.log(q / ((1 - q) * near)) / (1 + near)\n"
         "    A = q * np.exp(-weight) + (1 - q) * np.exp(near * weight)\n"
         "    return np.exp(1.645 * weight) / A", r"1\.645 belongs to 95 %"),
        ("ndtr", "def unlearning_time(lam, accuracy, q):\n"
         "    near = 1 - 2 * lam\n    weight = np.log(q / ((1 - q) * near)) / (1 + near)\n"
         "    A = q * np.exp(-weight) + (1 - q) * np.exp(near * weight)\n"
         "    return np.exp(ndtr(accuracy) * weight) / A", r"goes ndtri, not ndtr"),
        ("inner derivative", "def unlearning_time(lam, accuracy, q):\n"
         "    near = 1 - 2 * lam\n    weight = np.log(q / (1 - q)) / (1 + near)\n"
         "    A = q * np.exp(-weight) + (1 - q) * np.exp(near * weight)\n"
         "    return np.exp(ndtri(accuracy) * weight) / A", r"has a factor 1 - 2 lam"),
        ("the bias", "def unlearning_time(lam, accuracy, q):\n"
         "    return ndtri(accuracy) * np.log(q / (1 - q) / (1 - 2 * lam)) / (2 * (1 - lam))",
         r"the bias, not yet the time"),
    ],
    "05-confound": [
        ("right means near 0", "def share_right(pos, neg, place, eps, l1):\n"
         "    mean = (pos.mean(axis=1) + neg.mean(axis=1)) / 2\n"
         "    rest = np.sign(mean) * np.maximum(np.abs(mean) - l1, 0)\n"
         "    return np.mean(np.abs(rest) < eps)", r"right is near `place`, not near 0"),
        ("pushed through 0", "def share_right(pos, neg, place, eps, l1):\n"
         "    mean = (pos.mean(axis=1) + neg.mean(axis=1)) / 2\n"
         "    return np.mean(np.abs(mean - l1 * np.sign(mean) - place) < eps)",
         r"does not push the threshold through"),
        ("pulls to place", "def share_right(pos, neg, place, eps, l1):\n"
         "    mean = (pos.mean(axis=1) + neg.mean(axis=1)) / 2\n"
         "    return np.mean(np.abs(mean - place) < eps + l1)", r"the penalty pulls to 0"),
        ("no penalty", "def share_right(pos, neg, place, eps, l1):\n"
         "    mean = (pos.mean(axis=1) + neg.mean(axis=1)) / 2\n"
         "    return np.mean(np.abs(mean - place) < eps)", r"the penalty is missing"),
        ("not halved", "def share_right(pos, neg, place, eps, l1):\n"
         "    mean = pos.mean(axis=1) + neg.mean(axis=1)\n"
         "    rest = np.sign(mean) * np.maximum(np.abs(mean) - l1, 0)\n"
         "    return np.mean(np.abs(rest - place) < eps)", r"add the means of both classes and halve"),
        ("a number of sets", "def share_right(pos, neg, place, eps, l1):\n"
         "    mean = (pos.mean(axis=1) + neg.mean(axis=1)) / 2\n"
         "    rest = np.sign(mean) * np.maximum(np.abs(mean) - l1, 0)\n"
         "    return np.sum(np.abs(rest - place) < eps)", r"the share was asked for"),
        ("no sign", "def share_right(pos, neg, place, eps, l1):\n"
         "    mean = (pos.mean(axis=1) + neg.mean(axis=1)) / 2\n"
         "    return np.mean(np.abs(np.maximum(mean - l1, 0) - place) < eps)", r"give it its sign back"),
        ("one mean for all sets", "def share_right(pos, neg, place, eps, l1):\n"
         "    mean = (pos.mean() + neg.mean()) / 2\n"
         "    rest = np.sign(mean) * max(abs(mean) - l1, 0)\n"
         "    return np.mean(np.abs(rest - place) < eps)", r"a mean of its own"),
        ("always down", "def share_right(pos, neg, place, eps, l1):\n"
         "    mean = (pos.mean(axis=1) + neg.mean(axis=1)) / 2\n"
         "    return np.mean(np.abs(mean - l1 - place) < eps)", r"a negative mean moves up"),
    ],
    "05-pair": [
        ("half the reach", "def one_pair(eps, l1, l2):\n    return 1 - np.exp(-(eps * (1 + l2) + l1))",
         r"the mean of two numbers has a factor 1/2"),
        ("two examples", "def one_pair(eps, l1, l2):\n    return theory.grokking_probability(2, eps, l1, l2)",
         r"for two examples of each class"),
        ("l2 on l1, too", "def one_pair(eps, l1, l2):\n    return 1 - np.exp(-2 * (eps + l1) * (1 + l2))",
         r"multiplies eps, not l1"),
        ("density", "def one_pair(eps, l1, l2):\n    return np.exp(-2 * (eps * (1 + l2) + l1)) / 2",
         r"the chance is its integral"),
        ("to fail", "def one_pair(eps, l1, l2):\n    return np.exp(-2 * (eps * (1 + l2) + l1))",
         r"the chance to fail"),
        ("one side", "def one_pair(eps, l1, l2):\n    return (1 - np.exp(-2 * (eps * (1 + l2) + l1))) / 2",
         r"both signs count"),
    ],
}  # fmt: skip

"""Usual mistakes in the exercises of lesson 14, and the words by which each must be diagnosed."""

_TURN = """
def turn(steps, values, plateau, least):
    inside = (steps >= plateau[0]) & (steps <= plateau[1])
    early, end = {early}, {end}
    if {small}:
        return float(steps[-1]), np.inf
    first = {first}
    over = {over}
    k = first + int(np.argmax(over))
    return {result}
"""
_RIGHT = {
    "early": "np.median(values[inside])",
    "end": "np.median(values[-3:])",
    "small": "abs(end - early) < least",
    "first": "int(np.flatnonzero(inside)[-1]) + 1",
    "over": "(values[first:] - (early + end) / 2) * np.sign(end - early) >= 0",
    "result": "float(steps[k - 1]), float(steps[k])",
}

_SURELY = """
def surely_shares(turned, reference):
    {first}
    before, after = {before}, {after}
    return before.mean(), after.mean(), (~(before | after)).mean()
"""
_KEEP = "some = np.isfinite(reference[1]); turned, reference = turned[:, some], reference[:, some]"

_LAG = """
turned, accuracy = check.class_turns(seed=CLASS_SEED)
each = np.log10(turned).mean(axis=0) - np.log10(accuracy).mean(axis=0)
lag = {lag}
"""

_FORECAST = """
def area(values, outcome):
    good, bad = values[outcome][:, None], values[~outcome][None]
    return ({area}).mean()


def forecast(values, outcome, learn):
    sign = 1 if area(values[{judge}], outcome[{judge}]) >= 0.5 else -1
    return {result}
"""
_HALF = "(good > bad) + 0.5 * (good == bad)"

WRONG = {
    "14-turn": [
        ("rises only", _TURN.format(**_RIGHT | {"over": "values[first:] >= (early + end) / 2"}),
         r"crosses the middle from above"),
        ("from the start", _TURN.format(**_RIGHT | {"first": "1"}), r"before the end of the plateau"),
        ("the last value", _TURN.format(**_RIGHT | {"end": "values[-1]"}), r"median of the last three"),
        ("the mean", _TURN.format(**_RIGHT | {"early": "values[inside].mean()"}),
         r"the plateau, not the mean"),
        ("the mean at the end", _TURN.format(**_RIGHT | {"end": "values[-3:].mean()"}),
         r"last three looks, not the mean"),
        ("places", _TURN.format(**_RIGHT | {"result": "k - 1, k"}), r"places of the two looks"),
        ("never and never", _TURN.format(**_RIGHT).replace("float(steps[-1]), np.inf", "np.inf, np.inf"),
         r"indeed no turn; then the first number is the last step"),
        ("no number", _TURN.format(**_RIGHT).replace("float(steps[-1]), np.inf", "float(steps[-1]), None"),
         r"return two steps, \(after, by\); you return \(640"),
        ("half of the end value", _TURN.format(
            **_RIGHT | {"over": "(values[first:] - end / 2) * np.sign(end - early) >= 0"}),
         r"the middle between early and end value is"),
        ("one look of the plateau", _TURN.format(**_RIGHT | {"early": "values[inside][0]"}),
         r"not one look of it"),
        ("no threshold", _TURN.format(**_RIGHT | {"small": "False"}), r"smaller than `least` is no turn"),
        ("a falling change is small", _TURN.format(**_RIGHT | {"small": "end - early < least"}),
         r"in size, whatever its sign"),
        ("one step late", _TURN.format(
            **_RIGHT | {"result": "float(steps[k]), float(steps[min(k + 1, len(steps) - 1)])"}),
         r"the look before the middle is crossed"),
        ("the last crossing", _TURN.format(**_RIGHT).replace(
            "k = first + int(np.argmax(over))",
            "k = first + int(np.flatnonzero(np.append(True, ~over))[-1])"),
         r"the first look at which half"),
        ("a point", _TURN.format(**_RIGHT | {"result": "float(steps[k])"}), r"return two steps"),
    ],
    "14-surely": [
        ("all runs", _SURELY.format(
            first="", before="turned[1] <= reference[0]", after="turned[0] >= reference[1]"),
         r"leave those out"),
        ("only those that turn", _SURELY.format(
            first=_KEEP + "\n    there = np.isfinite(turned[1])\n"
            "    turned, reference = turned[:, there], reference[:, there]",
            before="turned[1] <= reference[0]", after="turned[0] >= reference[1]"),
         r"not turned by step T while the reference has"),
        ("ends", _SURELY.format(
            first=_KEEP, before="turned[1] < reference[1]", after="turned[1] > reference[1]"),
         r"compared the ends"),
        ("touching", _SURELY.format(
            first=_KEEP, before="turned[1] < reference[0]", after="turned[0] > reference[1]"),
         r"only touch do not overlap"),
        ("touching before", _SURELY.format(
            first=_KEEP, before="turned[1] < reference[0]", after="turned[0] >= reference[1]"),
         r"is surely before it"),
        ("starts", _SURELY.format(
            first=_KEEP, before="turned[0] < reference[0]", after="turned[0] > reference[0]"),
         r"compared the starts"),
        ("the other way round", _SURELY.format(
            first=_KEEP, before="turned[0] >= reference[1]", after="turned[1] <= reference[0]"),
         r"other way round"),
    ],
    "14-lag": [
        ("left out", _LAG.format(lag="np.median(each[np.isfinite(each)])"), r"left out the runs"),
        ("the mean", _LAG.format(lag="each[np.isfinite(each)].mean()"), r"mean over the runs that turn"),
        ("the mean of all", _LAG.format(lag="each.mean()"), r"as a mean is if one run is"),
        ("the sign", _LAG.format(lag="-np.median(each)"), r"the sign"),
        ("natural", _LAG.format(lag="np.median(each) * np.log(10)"), r"natural logarithm"),
        ("the ratio", _LAG.format(lag="10 ** np.median(each)"), r"the ratio itself"),
        ("the middle in steps", _LAG.format(
            lag="np.median(np.log10(turned.mean(0)) - np.log10(accuracy.mean(0)))"),
         r"take it in log10"),
        ("steps", _LAG.format(lag="np.median(turned.mean(0) - accuracy.mean(0))"), r"difference of steps"),
        ("the book's number, in another class", _LAG.format(lag="np.median(each)") + "CLASS_SEED = 3\n",
         r"the lag of class 0: take the turns of your own"),
    ],
    "14-forecast": [
        ("the same runs", _FORECAST.format(
            area=_HALF, judge="learn", result="area(sign * values[learn], outcome[learn])"),
         r"score the others"),
        ("all runs", _FORECAST.format(area=_HALF, judge="learn", result="area(sign * values, outcome)"),
         r"not held out"),
        ("the better direction", _FORECAST.format(
            area=_HALF, judge="~learn", result="area(sign * values[~learn], outcome[~learn])"),
         r"they may not choose"),
        ("all runs choose", _FORECAST.format(
            area=_HALF, judge="learn | True", result="area(sign * values[~learn], outcome[~learn])"),
         r"helped to choose"),
        ("large is good", _FORECAST.format(
            area=_HALF, judge="learn", result="area(values[~learn], outcome[~learn])"),
         r"you always took large"),
        ("ties", _FORECAST.format(
            area="good > bad", judge="learn", result="area(sign * values[~learn], outcome[~learn])"),
         r"a tie counts half"),
    ],
}  # fmt: skip

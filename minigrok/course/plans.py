"""Plans of sessions: three modules of 90 minutes, half a day, six weeks. Change them for your class.

    Step(lesson, what happens, minutes, figures, ...)

An exercise takes the minutes of its card. `python -m minigrok.course.timetable` says whether plans and
lessons still agree; `python -m tasks slides` makes the slides of a module from what its steps name.
"""

from minigrok.course.timetable import Plan, Step

__all__ = ["HALF_DAY", "MODULES", "SIX_WEEKS"]

GEOMETRY = Plan(
    "The geometry of a network",
    90,
    (
        Step(
            "01",
            "A ReLU network is a folded sheet, and today we count its flat pieces. One unit, one fold.",
            5,
            ("fig-01-one",),
        ),
        Step(
            "01",
            "How many pieces do 3 lines make? Everybody draws. Then $1 + n + \\binom n2$, line by line.",
            7,
            ("fig-01-five",),
        ),
        Step(
            "01",
            "Read the question on the second layer aloud. Everybody draws the shape, then two are shown.",
            4,
            predict=True,
        ),
        Step(
            "01",
            "One unit, one bent line. Why it bends at lines of the layer before, and nowhere else.",
            6,
            ("fig-01-bent", "fig-01-crumpled"),
        ),
        Step("01", "In pairs, on paper: which of the eight patterns is missing?", exercise="01-pencil"),
        Step(
            "01",
            "Depth can double; the networks we draw and train do not.",
            4,
            ("fig-01-sawtooth", "fig-01-trained"),
        ),
        Step(
            "02",
            "A run that is over after a hundred steps. Note the logarithmic axis.",
            3,
            ("fig-02-accuracy",),
        ),
        Step(
            "02",
            "Everybody draws the number of lines past a training point, from step 0 to step 4,000.",
            4,
            predict=True,
        ),
        Step("02", "The scrub bar, slowly; then the three phases.", 8, ("fig-02-phases",), player=True),
        Step(
            "02",
            "Where the lines gather, and the control: another seed's boundary does nearly as well.",
            5,
            ("fig-02-profile",),
        ),
        Step(
            "02",
            "Moved, or gone? And the calm optimiser, which keeps the gathering and loses the descent.",
            8,
            ("fig-02-units", "fig-02-calm"),
        ),
        Step(
            "03",
            "Nobody can count in 64 dimensions. Four points round $x$, and what they miss.",
            6,
            ("fig-03-cross",),
        ),
        Step(
            "03",
            "Does training raise or lower local complexity? One guess for a small radius, one for a large.",
            4,
            predict=True,
        ),
        Step("03", "Same network, another radius, the opposite story. Both are true.", 6, ("fig-03-story",)),
        Step(
            "03",
            "Exercise 3.7 as a discussion: which radius, in which unit of length, in which dimension?",
            7,
            ("fig-03-sweep",),
        ),
        Step("", "What you saw, in three sentences by the class. Homework is named.", 3),
    ),
)

GROKKING = Plan(
    "Grokking",
    90,
    (
        Step(
            "04",
            "Fill in question marks on the left; then try the right table, which is what the network gets.",
            5,
            ("fig-04-exam",),
        ),
        Step(
            "04", "Test accuracy is 0.01 at step 200. Everybody draws the next 1,000 steps.", 4, predict=True
        ),
        Step(
            "04",
            "The click, then the player: the scribble becomes a ring.",
            7,
            ("fig-04-click",),
            player=True,
        ),
        Step(
            "04",
            "Four more seeds and three controls. What does each control rule out?",
            5,
            ("fig-04-controls",),
        ),
        Step(
            "04", "A network from a formula: the square holds a product. On the board.", 7, ("fig-04-votes",)
        ),
        Step(
            "04",
            "The same waves in the trained network, and the phases that add up.",
            5,
            ("fig-04-spectra", "fig-04-phases"),
        ),
        Step(
            "04", "The real surprise: the waves were there while the exam was failed.", 5, ("fig-04-cleaned",)
        ),
        Step("05", "A linear student that groks. No network, no weight decay.", 4, ("fig-05-jump",)),
        Step("05", "Everybody draws the test loss from step 1 to step 40,000.", 4, predict=True),
        Step(
            "05",
            "There is no event in the loss. The threshold and the axis make the jump.",
            8,
            ("fig-05-smooth", "fig-05-threshold"),
        ),
        Step(
            "05",
            "A guess in writing, then the number: how much longer is the delay with a stricter ruler?",
            exercise="05-eps",
        ),
        Step("07", "Four ways a run can end, to the step. Why nobody may say *never*.", 4, ("fig-07-four",)),
        Step("07", "Can one knob alone prevent it, and at which end? A show of hands.", 4, predict=True),
        Step("07", "The map, then one column of it seed by seed.", 6, ("fig-07-map", "fig-07-seeds")),
        Step("07", "Early stopping throws away just the runs that wait.", 4, ("fig-07-stop",)),
        Step(
            "07",
            "The published comparison is rows one and two. What differs besides the method? Then the rest.",
            5,
            ("fig-07-confound",),
        ),
        Step(
            "",
            "What is late: the understanding, or its mark? One sentence from everybody. Homework is named.",
            3,
        ),
    ),
)

ROBUSTNESS = Plan(
    "Robustness and proof",
    90,
    (
        Step(
            "08",
            "On the board: a ReLU network is affine in each region. A straight boundary, a disc, a square.",
            6,
            ("fig-08-linear",),
        ),
        Step(
            "08",
            "Digits that change their name; noise of the same size does nothing.",
            4,
            ("fig-08-digits", "fig-08-eps"),
        ),
        Step("08", "All logits times 1,000: what will the usual attack leave?", 3, predict=True),
        Step(
            "08",
            "The attack failed and not one answer has changed. Saturated, flat, one step: three masks.",
            9,
            ("fig-08-scale", "fig-08-rounded", "fig-08-steps"),
        ),
        Step(
            "10", "Three curves for two starts, drawn by everybody from the first step on.", 4, predict=True
        ),
        Step("10", "Robust early, lost on the way. Then the U on MNIST.", 6, ("fig-10-live", "fig-10-mnist")),
        Step("10", "Attack the attack: at 0.20 the robustness is not there.", 6, ("fig-10-all",)),
        Step(
            "12",
            "Balls that hold nothing. A rule about units instead, drawn in the plane.",
            6,
            ("fig-12-balls", "fig-12-plane"),
        ),
        Step("12", "Three numbers: trained, untrained, shuffled labels.", 3, predict=True),
        Step(
            "12",
            "The three are about the same. What training does: strangers stay out.",
            7,
            ("fig-12-strangers",),
        ),
        Step(
            "13",
            "One room, one linear program. A walk refutes, a relaxation proves.",
            6,
            ("fig-13-room", "fig-13-walk"),
        ),
        Step("13", "Alone, on paper: the line above a ReLU.", exercise="13-line"),
        Step("13", "How many of 90 claims are true? Everybody bets.", 3, predict=True),
        Step(
            "13",
            "None at δ = 1. Three kinds of input follow a seven's pattern and are called otherwise.",
            7,
            ("fig-13-counterexamples", "fig-13-near"),
        ),
        Step("13", "What a pattern adds to a ball, on the same images.", 6, ("fig-13-balls",)),
        Step(
            "",
            "A failed attack, a high recall, an empty region: what did each seem to say? Homework is named.",
            4,
        ),
    ),
)

MODULES = {"geometry": GEOMETRY, "grokking": GROKKING, "robustness": ROBUSTNESS}

HALF_DAY = Plan(
    "Half a day",
    240,
    (
        *GEOMETRY.steps,
        Step("", "A break.", 10),
        *GROKKING.steps,
        Step("", "A second break.", 10),
        Step("02", "In groups: a descent too good to be true.", exercise="02-confound"),
        Step("04", "At the computer: the network from the board, written down.", exercise="04-by-hand"),
    ),
)

# Each week's lessons ask for none that comes later. Left for projects: 06, 11, 15 and 16.
SIX_WEEKS = (("00", "01", "02"), ("03", "04"), ("05", "07"), ("08", "09"), ("10", "12"), ("13", "14"))

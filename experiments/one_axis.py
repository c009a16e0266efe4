"""Lesson 14: all measures on the same runs, through time. Which moves first, and what would forecast?

    python experiments/one_axis.py                       # everything: about 40 minutes of one CPU core
    python experiments/one_axis.py --only addition digits
    python experiments/one_axis.py --csv one_axis.csv    # the released table: one row a run and measure

First the networks of a setting train, many as one batched model, and leave their weights in
`experiments/runs/` at every look; then the looks are taken, and the recording is written. Everything goes on
where it was stopped: type the same command again. `--record` writes the recording from what there is: the
recording in lessons/ has the settings that its note names, those of `SETTINGS` from the top.

THE PROTOCOL, written down before the runs (settings were chosen by trials with the seeds 100 to 102)

Runs. `SETTINGS` has them all. *addition*: p = 59, pairs split by unordered pairs, ReLU, two tables, width
128, full batch AdamW (betas .9, .98), learning rate 1e-2, weight decay 1, cross-entropy, 2,500 updates.
*digits*: 200 training images, 64-60-60-60-10, squared error, first weights times 6, batches of 100, AdamW
(betas .9, .999), learning rate 1e-3, weight decay 0.1, 25,000 updates. A run *groks* if its test accuracy at
the last look is at least .90 (addition) or .85 (digits). Beside them: controls that cannot (no weight decay,
a random table, a fifth of the table, random labels), the optimiser's controls (AdamW's eps 1e-3; float64), a
borderline share of the table at which only the seeds differ, *mixed* runs whose share, weight decay or first
weights are drawn at random, and interventions: at step t all ReLU masks become functions of the network as
it is then while the weights train on (freeze), or the length of all weights is kept at what it is then
(clamp). (While they ran, the number of runs of some controls was cut to six, for time. freeze_131,
_182 and _412 were added after freeze_240 had been seen.)

A turn. A curve's early value is its median over the looks of the setting's `plateau` (steps from, to), its
end value the median of the last three looks. If they differ by less than the measure's threshold
(`MEASURES`), it has *not turned by step T*. Otherwise the turn is the first step after the plateau at which
half of the change is made. We look only now and then, so it lies in an interval: after the look before, not
after this one. For a measure of kind "fall" (its name ends so: of local complexity, sharpness, test loss) the
early value is its largest since the plateau began, and only looks after that one count. A curve that goes and
comes back has not turned.

Leads and lags. log10 of the turn of a measure over the turn of test accuracy in the same run, each at the
arithmetic middle of its interval in log10; a run whose measure does not turn has lag infinity. Median over
all runs in which test accuracy turns, with a 95 % interval by resampling runs. A measure *surely* leads in a
run if its interval ends before accuracy's begins.

Forecasts. From the value of one measure at one look, will the run grok? Looks: the first with train accuracy
at least .99, and those nearest below T/20, T/10 and T/4. Score: the area under the ROC curve on held-out
runs: half of the runs (of each outcome) say whether large values are good or bad, the other half is scored,
200 times; the mean. The interval is Hanley and McNeil's for these numbers of runs; fewer than five runs of
one outcome are not scored. Baselines: weight norm and training loss. Many measures are asked, so the best of
them is good by chance: `best_by_chance` is what the best reaches, at most, in 95 % of shuffles of the
outcomes. (Added after the first forecasts were seen: this, and the group `mixed_half`, in which .50 is
enough, because only three of the mixed runs reach .90.) Of mixed runs the drawn settings are asked, too:
known_*. Settings that differ only by the seed (`borderline`), runs with random settings (`mixed`) and the
pool of base and controls are scored apart: in the pool, telling the settings apart is enough.

THE RECORDING: arrays "<setting>/<measure>" of shape (looks, runs), with "<setting>/steps" (looks,),
"<setting>/seeds" and, of mixed runs, "<setting>/drawn_<name>" (runs,). The measures:

train_accuracy, test_accuracy, train_loss, test_loss, norm   as everywhere in the course
sharpness        trace of the Hessian of the training loss, four random vectors
robust_margin_a, robust_ce_a   digits: share of 100 test images that are right and survive 20 steps of PGD
                 with that loss, eps = a/100 of the pixels' range; robust_a: that survive both
robust_a         addition: the same for an l-infinity ball of a/100 of the embedding's RMS around
                 L[a] + R[b], 200 test pairs: exact, because the body has one layer (`exact_robust`);
                 robust_pgd_10: the same pairs under PGD with the margin loss, which cannot be below
noisy_accuracy   test accuracy with noise: .4 of the embedding's RMS, or .1 on pixels
complexity_train, _test, _random   local complexity at 100 points, all layers, P = 25 directions. Radius .1 on
                 pixels; in embeddings a tenth of the RMS length. Also at training points: _reach (digits),
                 radius .4; _fixed (addition), the radius of step 0; _live, _train per unit that is neither
                 dead nor always on
change_died, change_on, change_rescaled, change_moved   complexity_train minus that of the look before, in
                 four parts that add up: units that are (or were) silent at all training points; active at
                 all; for all others what one factor on all their distances explains; and the rest
dead, always_on  number of units silent, or active, at all training points
pe, pmi, ed, mid perturbed entropy and information (measures.perturbation_measures) of 100 training points:
                 first and last hidden layer of digits, hidden layer and logits of addition
fourier_unit     addition: mean over hidden units of the largest share of one frequency in L's column
fourier_top5     share of the five strongest frequencies in all of L
commutes         addition: share of 300 test pairs with the same answer for (a, b) and (b, a), both held out
Added after the first look at the results, from the same snapshots:
attacked_accuracy  on the test samples that robust_a looks at
robust_given_a   robust_a over the accuracy on the same samples; noisy_given: share of right test samples that
                 stay right with that noise. Over .05 where fewer are right
robust_train_a   robust_a at 200 training pairs (a = 10, 20; exact), 100 training images (a = 05; both losses)
noisy_train      addition: 200 training pairs, right with noise of .8 RMS
wrong_agrees     addition: of the test pairs (a, b) answered wrongly, the share answered alike as (b, a)
nap_recall_d, nap_ambiguity_d, nap_size_d   NAPs mined on the training samples, delta = d/100: share of test
                 samples that follow their class's NAP, share that follow two or more, share of units fixed
nap_stability_d  Jaccard similarity of the fixed (unit, state) pairs with those of the look before, mean over
                 classes; _null: with this look's units shuffled within their layer (same sizes);
                 nap_labels_stability_d, nap_labels_recall_d: NAPs of classes with shuffled labels.
                 NaN, but for the size, where NAPs fix fewer than 1 % of the units (addition)
certified_05, refuted_05, undecided_05, attacked_05   digits, some seeds and looks (steps_certified): of
                 the same 60 test images the share that is right and proved robust at eps .05, that is wrong
                 or has a counterexample, neither in time; and the share that PGD leaves. The first runs,
                 (looks_certified, runs); "in time" is a second by the clock of a busy computer
own_gates_accuracy   frozen runs: test accuracy of the trained weights with masks of their own
"<setting>/turn/<measure>" (2, runs): the interval of the turn, (T, inf) where there is none by step T.
"lag/<setting>/<measure>": median, low, high of the lag; share of runs surely leading, surely lagging; share
with a turn. "forecast/<group>/<look>/<measure>": AUC, low, high; <look> is fit, T20, T10 or T4;
"forecast/<group>/groks" (runs,). All are computed from the curves above.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from minigrok import attacks, data, measures, models, recordings, training

RUNS = Path(__file__).parent / "runs" / "one_axis"
RECORDING = Path(__file__).parents[1] / "lessons" / "recordings" / "one_axis.npz"
P, WIDTH, DIRECTIONS = 59, 128, 25
GROKS = {"addition": 0.90, "digits": 0.85}  # test accuracy at the end
TOGETHER = 10  # networks looked at at once
DELTAS = (0.95, 0.99)
ROBUST = {"digits": (0.05, 0.10), "addition": (0.05, 0.10)}
RADIUS, REACH = 0.1, 0.4  # of local complexity, on pixels; .4 = .05 * 8 is how far an attack of .05 reaches


# Settings


@dataclass(frozen=True)
class Setting:
    """One kind of run; the defaults are those of `addition`."""

    task: str = "addition"
    seeds: tuple[int, ...] = tuple(range(10))
    steps: int = 2500
    plateau: tuple[int, int] = (80, 120)  # the looks whose median is a curve's early value
    operation: str = "add"
    fraction: float = 0.5
    scale: float = 1.0  # of the first weights
    lr: float = 1e-2
    weight_decay: float = 1.0
    adam_eps: float = 1e-8
    double: bool = False  # float64
    random_labels: bool = False
    freeze_at: int | None = None
    clamp_at: int | None = None
    drawn: bool = False  # every seed has its own share, first weights and weight decay

    @property
    def brief(self) -> bool:
        """Whether only accuracies and norm are wanted."""
        return self.freeze_at is not None or self.clamp_at is not None


ADDITION = Setting()
DIGITS = Setting(
    "digits", steps=25_000, plateau=(100, 700), scale=6.0, lr=1e-3, weight_decay=0.1, fraction=np.nan
)
MANY, FEW = tuple(range(30)), tuple(range(6))
SETTINGS = {
    "addition": replace(ADDITION, seeds=MANY),
    "digits": replace(DIGITS, seeds=MANY),
    "no_decay": replace(ADDITION, weight_decay=0.0),
    "random_table": replace(ADDITION, operation="random"),
    "borderline": replace(ADDITION, seeds=MANY, fraction=0.42),
    "freeze_80": replace(ADDITION, seeds=FEW, freeze_at=80),
    "digits_freeze_4000": replace(DIGITS, seeds=FEW, freeze_at=4000),
    "mixed": replace(ADDITION, seeds=MANY[:24], drawn=True),
    "digits_default": replace(DIGITS, scale=1.0, plateau=(10, 30)),
    "clamp_80": replace(ADDITION, seeds=FEW, clamp_at=80),
    "digits_random": replace(DIGITS, seeds=FEW, random_labels=True),
    "digits_clamp_1000": replace(DIGITS, seeds=FEW, clamp_at=1000),
    "digits_eps": replace(DIGITS, seeds=FEW, adam_eps=1e-3),
    "little_data": replace(ADDITION, seeds=FEW, fraction=0.2),
    "freeze_20": replace(ADDITION, seeds=FEW, freeze_at=20),
    "mixed_digits": replace(DIGITS, seeds=MANY[:20], drawn=True, steps=12_000),
    "freeze_240": replace(ADDITION, seeds=FEW, freeze_at=240),
    "freeze_131": replace(ADDITION, seeds=FEW, freeze_at=131),
    "freeze_182": replace(ADDITION, seeds=FEW, freeze_at=182),
    "freeze_412": replace(ADDITION, seeds=FEW, freeze_at=412),
    "digits_clamp_4000": replace(DIGITS, seeds=FEW, clamp_at=4000),
    "eps": replace(ADDITION, seeds=FEW, adam_eps=1e-3),
    "digits_freeze_7500": replace(DIGITS, seeds=FEW, freeze_at=7500),
    "double": replace(ADDITION, seeds=FEW, double=True),
    "digits_double": replace(DIGITS, seeds=FEW, double=True),
    "clamp_240": replace(ADDITION, seeds=FEW, clamp_at=240),
}


def own(setting: Setting, seed: int) -> Setting:
    """The setting of one run: where settings are drawn, the seed decides."""
    if not setting.drawn:
        return setting
    u, v = np.random.default_rng(seed).random(2)
    if setting.task == "addition":
        return replace(setting, fraction=0.3 + 0.2 * u, weight_decay=float(0.1 * 30**v))
    return replace(setting, scale=float(2 + 6 * u), weight_decay=float(0.01 * 30**v))


def looks(setting: Setting) -> list[int]:
    """The steps at which a run is looked at: dense where something may turn."""
    if setting.task == "addition":
        first, begin, n = [0, 20, 40, 60], 80, 22
    elif setting.scale == 1:
        first, begin, n = [0], 10, 24
    else:
        first, begin, n = [0, 100, 200, 400, 700], 1000, 20
    return sorted({*first, *np.geomspace(begin, setting.steps, n).round().astype(int).tolist()})


def samples(setting: Setting, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_train, y_train, x_test, y_test of one run."""
    setting = own(setting, seed)
    if setting.task == "addition":
        return data.arithmetic(setting.operation, P, fraction=setting.fraction, split="unordered", seed=seed)
    found = data.digits(200, seed=seed)
    if setting.random_labels:
        drawn = torch.randint(10, (200,), generator=torch.Generator().manual_seed(seed))
        found = found._replace(y_train=drawn)
    dtype = torch.float64 if setting.double else torch.float32
    return found._replace(x_train=found.x_train.to(dtype), x_test=found.x_test.to(dtype))


def network(setting: Setting, seed: int) -> nn.Module:
    setting, generator = own(setting, seed), torch.Generator().manual_seed(seed)
    if setting.task == "addition":
        net = models.pair_mlp(P, WIDTH, scale=setting.scale, generator=generator)
    else:
        net = models.mlp([64, 60, 60, 60, 10], scale=setting.scale, generator=generator)
    return net.double() if setting.double else net


# Networks, seen from inside


def body(ensemble: training.Ensemble) -> nn.Sequential:
    """The layers from vectors to outputs; every tensor has the networks as its first axis."""
    stacked = ensemble.stacked
    return stacked.body if isinstance(stacked, models.PairMLP) else stacked


def vectors(ensemble: training.Ensemble, x: Tensor) -> Tensor:
    """What the body sees of a batch for each network: pixels as they are, pairs as L[a] + R[b]; (S, N, d)."""
    if not isinstance(ensemble.stacked, models.PairMLP):
        return x
    first = torch.arange(len(x))[:, None] * P
    left, right = (table.weight.flatten(0, 1) for table in (ensemble.stacked.left, ensemble.stacked.right))
    a, b = (first + x[..., 0]).flatten(), (first + x[..., 1]).flatten()
    return (left.index_select(0, a) + right.index_select(0, b)).unflatten(0, x.shape[:2])


def affine(layer: nn.Linear, h: Tensor) -> Tensor:
    if layer.bias is None:
        return torch.bmm(h, layer.weight.mT)
    return torch.baddbmm(layer.bias[:, None], h, layer.weight.mT)


def walk(layers: nn.Sequential, h: Tensor) -> tuple[list[Tensor], Tensor]:
    """The values in front of every ReLU, and the outputs, (S, N, units) each."""
    before = []
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            before.append(h)
            h = h.relu()
        else:
            h = affine(layer, h)
    return before, h


class Gated(nn.Module):
    """Networks whose ReLU masks are, from `freeze` on, those of the networks as they were then.

    Every unit is then multiplied by 1 or 0 as the *frozen* network decides at this input. At the frozen
    weights that is the network itself. The masks are no longer trained; the weights are.
    """

    def __init__(self, live: training.Ensemble, frozen: training.Ensemble):
        super().__init__()
        self.live, self.frozen = live, frozen.requires_grad_(False)
        self.register_buffer("closed", torch.tensor(False))

    def __len__(self) -> int:
        return len(self.live)

    def __getitem__(self, s: int) -> nn.Module:
        """The s-th network, as a plain module of its own."""
        alone = Gated(*[training.Ensemble([part[s]]) for part in (self.live, self.frozen)])
        alone.closed.copy_(self.closed)
        return First(alone)

    def freeze(self) -> None:
        self.frozen.load_state_dict(self.live.state_dict())
        self.closed.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        if not self.closed:
            return self.live(x)
        h = vectors(self.live, x)
        with torch.no_grad():
            gates = iter([z > 0 for z in walk(body(self.frozen), vectors(self.frozen, x))[0]])
        for layer in body(self.live):
            h = h * next(gates) if isinstance(layer, nn.ReLU) else affine(layer, h)
        return h


class First(nn.Module):
    """An ensemble of one network as a network: (N, ...) -> (N, outputs)."""

    def __init__(self, one: nn.Module):
        super().__init__()
        self.one = one

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x[None])[0]


@torch.no_grad()
def clamp(ensemble: training.Ensemble) -> None:
    """Rescale all weights of each network so that their length is `ensemble.held` again."""
    factor = ensemble.held / measures.weight_norm(ensemble)
    for weight in ensemble.parameters():
        weight.mul_(factor.view(-1, *[1] * (weight.dim() - 1)))


# Training


def new_state(setting: Setting) -> training.State:
    ensemble = training.Ensemble([network(setting, seed) for seed in setting.seeds])
    ensemble.register_buffer("held", torch.zeros(len(ensemble), dtype=next(ensemble.parameters()).dtype))
    model = ensemble
    if setting.freeze_at is not None:
        frozen = training.Ensemble([network(setting, seed) for seed in setting.seeds])
        frozen.register_buffer("held", torch.zeros_like(ensemble.held))
        model = Gated(ensemble, frozen)
    decay = torch.tensor([own(setting, seed).weight_decay for seed in setting.seeds])
    betas = (0.9, 0.98) if setting.task == "addition" else (0.9, 0.999)
    optimizer = training.EnsembleAdamW(
        ensemble.parameters(), lr=setting.lr, weight_decay=decay, betas=betas, eps=setting.adam_eps
    )
    return training.State(model, optimizer)


def batches_of(setting: Setting) -> Callable[[int], training.Batch]:
    """All pairs at once, or for each network its own batch of 100 images."""
    parts = [samples(setting, seed) for seed in setting.seeds]
    if setting.task == "addition":
        whole = training.padded([(part[0], part[1]) for part in parts])
        return lambda t: whole
    x, y = (torch.stack([part[k] for part in parts]) for k in (0, 1))
    orders = training.minibatches(torch.zeros(x.shape[1]), torch.arange(x.shape[1]), 100, seed=setting.seeds)

    def batches(t: int) -> training.Batch:
        chosen = orders(t)[1]
        return x.gather(1, chosen[..., None].expand(-1, -1, x.shape[2])), y.gather(1, chosen)

    return batches


def step_of(setting: Setting) -> Callable[[training.State, training.Batch], None]:
    loss = "cross_entropy" if setting.task == "addition" else "squared_error"

    def step(state: training.State, batch: training.Batch) -> None:
        model = state.model
        if state.step == setting.freeze_at:
            model.freeze()
        if state.step == setting.clamp_at:
            model.held.copy_(measures.weight_norm(model))
        state.optimizer.zero_grad(set_to_none=False)
        open_gates = isinstance(model, Gated) and not model.closed  # a plain run until then, to the last bit
        training.classification_gradients(model.live if open_gates else model, *batch, loss)
        state.optimizer.step()
        if setting.clamp_at is not None and state.step >= setting.clamp_at:
            clamp(model)

    return step


def train(name: str, progress: bool = False) -> training.Run:
    """Train a setting's networks to the end, or on to it; the weights of every look are left on disk."""
    setting, folder = SETTINGS[name], RUNS / name
    folder.mkdir(parents=True, exist_ok=True)

    def observe(state: training.State) -> dict[str, Tensor]:
        beside = folder / f"{state.step}.part"
        torch.save(state.model.state_dict(), beside)
        beside.replace(folder / f"{state.step}.pt")
        return {"cpu": torch.tensor(time.process_time())}

    return training.train(
        step_of(setting), new_state(setting), steps=setting.steps, batches=batches_of(setting),
        observe=observe, at=looks(setting), checkpoint=folder / "checkpoint.pt", every=500, progress=progress,
    )  # fmt: skip


# Looking: what every network is asked. All return one number a network, (S,)


@dataclass(frozen=True)
class Points:
    """The samples of some networks, for looking: every test set cut to one size, training sets filled up."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int


def points(setting: Setting, seeds: tuple[int, ...]) -> Points:
    parts = [samples(setting, seed) for seed in seeds]
    n = min(len(part[3]) for part in parts)
    x_train, y_train = training.padded([(part[0], part[1]) for part in parts])
    x_test, y_test = (torch.stack([part[k][:n] for part in parts]) for k in (2, 3))
    return Points(x_train, y_train, x_test, y_test, P if setting.task == "addition" else 10)


def unit_of(ensemble: training.Ensemble, seen: Points) -> Tensor:
    """What noise and radii are measured in, (S, 1, 1): 1 of pixels, else the embeddings' root mean square."""
    if seen.classes != P:
        return torch.ones(len(ensemble), 1, 1)
    h = vectors(ensemble, seen.x_train[:, :200])  # so many every training set has
    return h.square().mean(dim=(1, 2), keepdim=True).sqrt()


def basics(model: nn.Module, seen: Points, loss: str) -> dict[str, Tensor]:
    found = {"norm": measures.weight_norm(model.live if isinstance(model, Gated) else model)}
    for part in ("train", "test"):
        x, y = getattr(seen, f"x_{part}"), getattr(seen, f"y_{part}")
        found[f"{part}_accuracy"] = training.accuracy(model, x, y)
        found[f"{part}_loss"] = training.classification_loss(model(x), y, loss)
    return found


def sharpness(ensemble: training.Ensemble, seen: Points, loss: str) -> dict[str, Tensor]:
    def of_training(model: nn.Module) -> Tensor:
        return training.classification_loss(model(seen.x_train), seen.y_train, loss)

    generator = torch.Generator().manual_seed(0)
    return {"sharpness": measures.hessian_trace(of_training, ensemble, samples=4, generator=generator)}


def spread(ensemble: training.Ensemble, seen: Points, sigma: float) -> dict[str, Tensor]:
    """PE, PMI, ED and MID; NaN for a network with a sample that leaves a whole layer silent."""
    h = vectors(ensemble, seen.x_train[:, :100])
    unit = unit_of(ensemble, seen).to(h)
    noise = torch.randn(h.shape[1:], generator=torch.Generator().manual_seed(0)).to(h)
    features = [first_and_later(ensemble, part) for part in (h, h + sigma * unit * noise)]
    silent = [(z == 0).all(2).any(1) for pair in features for z in pair]
    good = ~torch.stack(silent).any(0)
    values = torch.full((4, len(h)), torch.nan, dtype=torch.float64)
    if good.any():
        (entropy, information), (pe, pmi) = (entropy_and_information(*pair, good) for pair in features)
        values[:, good] = torch.stack([pe, pmi, (pe - entropy).abs(), (pmi - information).abs()])
    return dict(zip(("pe", "pmi", "ed", "mid"), values, strict=True))


def first_and_later(ensemble: training.Ensemble, h: Tensor) -> tuple[Tensor, Tensor]:
    before, out = walk(body(ensemble), h)
    return before[0].relu(), out if len(before) == 1 else before[-1].relu()


def entropy_and_information(first: Tensor, later: Tensor, good: Tensor) -> tuple[Tensor, Tensor]:
    r1, r2 = measures.gram(first[good]), measures.gram(later[good])
    return measures.matrix_entropy(r2), measures.mutual_information(r1, r2)


# Local complexity


def distances(layers: nn.Sequential, h: Tensor, radius: Tensor) -> Tensor:
    """How far each unit's bend is from each point, in units of the neighbourhood's reach; (S, N, units).

    |z(x)| over the most that z moves towards 0 among the vertices x +- radius v_p: below 1 the unit bends
    in the neighbourhood, and counts for local complexity. Units of all layers stand side by side.
    """
    frame = torch.randn(h.shape[2], DIRECTIONS, generator=torch.Generator().manual_seed(0)).double()
    frame = torch.linalg.qr(frame).Q.T.to(h)
    moves = torch.cat([torch.zeros_like(frame[:1]), frame, -frame])
    rows = h[:, :, None] + radius.view(-1, 1, 1, 1) * moves
    found = []
    for z in walk(layers, rows.flatten(1, 2))[0]:
        z = z.unflatten(1, (h.shape[1], len(moves)))
        centre = z[:, :, 0]
        towards = (-centre.sign()[:, :, None] * (z[:, :, 1:] - centre[:, :, None])).amax(2)
        found.append(torch.where(towards > 0, centre.abs() / towards.clamp(min=1e-30), torch.inf))
    return torch.cat(found, 2)


@dataclass(frozen=True)
class Bends:
    """What is kept of a look to say what has changed since."""

    distances: Tensor  # (S, N, units) at training points
    dead: Tensor  # (S, units) bool
    always_on: Tensor


def bends(ensemble: training.Ensemble, seen: Points) -> Bends:
    h, used = vectors(ensemble, seen.x_train), (seen.y_train >= 0)[..., None]
    active = torch.cat([z > 0 for z in walk(body(ensemble), h)[0]], 2)
    near = distances(body(ensemble), h[:, :100], radius_of(ensemble, seen))
    return Bends(near, ~(active & used).any(1), (active | ~used).all(1))


def radius_of(ensemble: training.Ensemble, seen: Points) -> Tensor:
    """Of local complexity, (S,): fixed on pixels; a tenth of the length of an embedding."""
    unit = unit_of(ensemble, seen).flatten()
    return 0.1 * unit * WIDTH**0.5 if seen.classes == P else RADIUS * unit


def changes(before: Bends, now: Bends) -> dict[str, Tensor]:
    """The change of local complexity at training points in four parts that add up to it."""
    then, after = ((part.distances < 1).to(part.distances).mean(1) for part in (before, now))
    factor = now.distances.nanmedian(1).values / before.distances.nanmedian(1).values
    factor = factor.where(factor.isfinite(), 1.0)
    scaled = (before.distances * factor[:, None] < 1).to(then).mean(1)
    died = before.dead | now.dead
    went_on = (before.always_on | now.always_on) & ~died
    other = ~(died | went_on)
    parts = {"died": (after - then) * died, "on": (after - then) * went_on}
    parts |= {"rescaled": (scaled - then) * other, "moved": (after - scaled) * other}
    return {f"change_{name}": part.sum(1) for name, part in parts.items()}


def complexity(
    ensemble: training.Ensemble, seen: Points, now: Bends, before: Bends | None, first_radius: Tensor
) -> dict[str, Tensor]:
    h = vectors(ensemble, seen.x_train[:, :100])
    radius = radius_of(ensemble, seen)
    generator, shape = torch.Generator().manual_seed(1), (100, h.shape[2])
    if seen.classes == P:
        random = unit_of(ensemble, seen) * torch.randn(shape, generator=generator).to(h)
    else:
        random = torch.rand(shape, generator=generator).to(h).expand(len(h), -1, -1)
    around = {"test": vectors(ensemble, seen.x_test[:, :100]), "random": random}
    count = {"train": now.distances} | {k: distances(body(ensemble), v, radius) for k, v in around.items()}
    other = ("fixed", first_radius) if seen.classes == P else ("reach", torch.full_like(radius, REACH))
    count[other[0]] = distances(body(ensemble), h, other[1])
    found = {f"complexity_{k}": (d < 1).sum(2).to(h).mean(1) for k, d in count.items()}
    live = (~(now.dead | now.always_on)).sum(1)
    found |= {"dead": now.dead.sum(1), "always_on": now.always_on.sum(1)}
    found["complexity_live"] = found["complexity_train"] / live
    nothing = {f"change_{k}": torch.zeros(len(h)) for k in ("died", "on", "rescaled", "moved")}
    return found | (nothing if before is None else changes(before, now))


# Robustness


def exact_robust(h: Tensor, y: Tensor, readout: Tensor, eps: Tensor) -> Tensor:
    """The share of embeddings h (S, N, d) whose answer is right in all of an l-infinity ball of eps (S,).

    With one hidden layer and no biases the margin between y and c is a sum over units of
    (U[y] - U[c]) relu(h + delta), each with its own delta in [-eps, eps] and monotone in it: every term is
    smallest at one end. So the smallest margin of a pair of classes is found exactly.
    """
    shift = eps.view(-1, 1, 1)
    low, high = (h - shift).relu(), (h + shift).relu()
    right = readout.gather(1, y[..., None].expand(-1, -1, readout.shape[2]))  # U[y], (S, N, d)
    smallest = torch.full(y.shape, torch.inf).to(h)
    for c in range(readout.shape[1]):
        u = right - readout[:, c, None]
        margin = torch.where(u > 0, u * low, u * high).sum(2)
        smallest = torch.minimum(smallest, margin.where(y != c, torch.inf))
    return (smallest > 0).to(h).mean(1)


def robust_addition(ensemble: training.Ensemble, seen: Points) -> dict[str, Tensor]:
    h, y = vectors(ensemble, seen.x_test[:, :200]), seen.y_test[:, :200]
    unit, found = unit_of(ensemble, seen), {}
    for share in ROBUST["addition"]:
        eps = share * unit.flatten()
        found[f"robust_{round(100 * share):02d}"] = exact_robust(h, y, body(ensemble)[-1].weight, eps)
    bounds = (-1e4, 1e4)  # there are none; PGD wants some
    attacked = [
        attacks.robust_accuracy(
            ensemble[s].body, h[s], y[s], float(0.1 * unit[s]), bounds=bounds,
            generator=torch.Generator().manual_seed(0),
        )
        for s in range(len(ensemble))
    ]  # fmt: skip
    noise = torch.randn(h.shape[1:], generator=torch.Generator().manual_seed(2)).to(h)
    answers = walk(body(ensemble), h + 0.4 * unit * noise)[1].argmax(2)
    found["noisy_accuracy"] = (answers == y).double().mean(1)
    return found | {"robust_pgd_10": torch.stack(attacked)}


def robust_digits(model: nn.Module, seen: Points) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {}
    for s in range(len(model)):
        net, x, y = model[s].requires_grad_(False), seen.x_test[s, :100], seen.y_test[s, :100]
        for eps in ROBUST["digits"]:
            alive = {loss: ~fooled(net, x, y, eps, loss) for loss in ("margin", "cross_entropy")}
            parts = {"margin_": alive["margin"], "ce_": alive["cross_entropy"]}
            for kind, left in (parts | {"": alive["margin"] & alive["cross_entropy"]}).items():
                found.setdefault(f"robust_{kind}{round(100 * eps):02d}", []).append(left.double().mean())
    x = seen.x_test[:, :300]
    noise = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(2)).to(x)
    answers = model(x + 0.1 * noise).argmax(2)
    found["noisy_accuracy"] = list((answers == seen.y_test[:, :300]).double().mean(1))
    return {name: torch.stack(values) for name, values in found.items()}


def fooled(net: nn.Module, x: Tensor, y: Tensor, eps: float, loss: str = "margin") -> Tensor:
    """Which images are wrong or PGD makes wrong, (N,) bool."""
    return attacks.pgd(net, x, y, eps, loss=loss, generator=torch.Generator().manual_seed(0)).success


# Robustness apart from accuracy: at training samples, and of right answers alone

FEW_RIGHT = 0.05  # where fewer samples are right, "of those that are right" says nothing: over this share


@torch.no_grad()
def closer(ensemble: training.Ensemble, seen: Points) -> dict[str, Tensor]:
    addition = seen.classes == P
    attacked, shaken, sigma = (200, 200, 0.4) if addition else (100, 300, 0.1)  # as in `robust_*`
    h, y = vectors(ensemble, seen.x_test[:, :shaken]), seen.y_test[:, :shaken]
    right = walk(body(ensemble), h)[1].argmax(2) == y
    noise = torch.randn(h.shape[1:], generator=torch.Generator().manual_seed(2)).to(h)
    moved = walk(body(ensemble), h + sigma * unit_of(ensemble, seen).to(h) * noise)[1].argmax(2) == y
    found = {
        "attacked_accuracy": right[:, :attacked].double().mean(1),
        "noisy_given": (right & moved).double().mean(1) / right.double().mean(1).clamp(min=FEW_RIGHT),
    }
    return found | (training_pairs if addition else training_images)(ensemble, seen)


def training_pairs(ensemble: training.Ensemble, seen: Points) -> dict[str, Tensor]:
    h, y = vectors(ensemble, seen.x_train[:, :200]), seen.y_train[:, :200]
    unit, readout = unit_of(ensemble, seen), body(ensemble)[-1].weight
    found = {f"robust_train_{a}": exact_robust(h, y, readout, a / 100 * unit.flatten()) for a in (10, 20)}
    noise = torch.randn(h.shape[1:], generator=torch.Generator().manual_seed(3)).to(h)
    found["noisy_train"] = (walk(body(ensemble), h + 0.8 * unit * noise)[1].argmax(2) == y).double().mean(1)
    answers, mirrored = (ensemble(pairs).argmax(2) for pairs in (seen.x_test, seen.x_test.flip(-1)))
    wrong = answers != seen.y_test
    return found | {"wrong_agrees": (wrong & (answers == mirrored)).sum(1) / wrong.sum(1)}


def training_images(model: nn.Module, seen: Points) -> dict[str, Tensor]:
    shares = []
    for s in range(len(model)):
        net, x, y = model[s].requires_grad_(False), seen.x_train[s, :100], seen.y_train[s, :100]
        broken = fooled(net, x, y, 0.05) | fooled(net, x, y, 0.05, "cross_entropy")
        shares.append((~broken).double().mean())
    return {"robust_train_05": torch.stack(shares)}


# Addition's own


def waves(ensemble: training.Ensemble, seen: Points) -> dict[str, Tensor]:
    left, x = ensemble.stacked.left.weight, seen.x_test[:, :300]
    alone = measures.fourier_power(left, dim=1, per_column=True)  # (frequencies, S, width)
    whole = torch.stack([measures.fourier_power(table) for table in left], 1)
    both = [ensemble(pairs).argmax(2) for pairs in (x, x.flip(-1))]
    return {
        "fourier_unit": alone.amax(0).mean(1),
        "fourier_top5": whole.topk(5, dim=0).values.sum(0),
        "commutes": (both[0] == both[1]).double().mean(1),
    }


# Activation patterns


@dataclass(frozen=True)
class Patterns:
    """The NAPs of all classes of some networks: units fixed as active, as inactive, (S, classes, units)."""

    active: Tensor
    inactive: Tensor

    def followed(self, states: Tensor) -> Tensor:
        """Which samples follow which class's NAP: states (S, N, units) bool -> (S, N, classes)."""
        on = states.to(self.active)
        return on @ self.inactive.mT + (1 - on) @ self.active.mT < 0.5


def mine(states: Tensor, y: Tensor, classes: int, delta: float) -> Patterns:
    """Geng et al. 2023: a unit is fixed where at least delta of a class's samples agree on it."""
    member = (y[..., None] == torch.arange(classes)).to(torch.float32)  # samples that fill up: in no class
    size = member.sum(1)[..., None]
    share = member.mT @ states.to(torch.float32) / size.clamp(min=1)
    some = size > 0
    fixed = share >= delta - 1e-6, share <= 1 - delta + 1e-6
    return Patterns(*[(part & some).to(torch.float32) for part in fixed])


def jaccard(a: Patterns, b: Patterns) -> Tensor:
    """Fixed (unit, state) pairs in common, over those in either; mean over classes with any, (S,), or NaN."""
    both = (a.active * b.active + a.inactive * b.inactive).sum(2)
    either = (a.active + a.inactive + b.active + b.inactive).sum(2) - both
    return (both / either).nanmean(1)  # 0 / 0 where neither look fixes a unit


def shuffled(patterns: Patterns, units: list[int]) -> Patterns:
    """The same number of units fixed each way in each layer and class, but others."""
    generator, begin, columns = torch.Generator().manual_seed(0), 0, []
    for n in units:
        noise = torch.rand((*patterns.active.shape[:2], n), generator=generator)
        columns.append(begin + noise.argsort(-1))
        begin += n
    order = torch.cat(columns, -1)
    return Patterns(patterns.active.gather(-1, order), patterns.inactive.gather(-1, order))


def nap_measures(
    ensemble: training.Ensemble, seen: Points, before: dict[str, Patterns]
) -> tuple[dict[str, Tensor], dict[str, Patterns]]:
    """All about NAPs, and the NAPs, to compare the next look with."""
    inside = [walk(body(ensemble), vectors(ensemble, x))[0] for x in (seen.x_train, seen.x_test[:, :300])]
    train, test = (torch.cat([z > 0 for z in part], 2) for part in inside)
    units, y = [z.shape[2] for z in inside[0]], seen.y_test[:, :300]
    wrong_train, wrong_test = (shuffled_labels(labels) for labels in (seen.y_train, y))
    found, now = {}, {}
    for delta in DELTAS:
        d = f"{round(100 * delta)}"
        naps = now[d] = mine(train, seen.y_train, seen.classes, delta)
        wrong = now[f"labels {d}"] = mine(train, wrong_train, seen.classes, delta)
        follow = naps.followed(test)
        found[f"nap_recall_{d}"] = recall(follow, y)
        found[f"nap_ambiguity_{d}"] = (follow.sum(2) >= 2).double().mean(1)
        found[f"nap_size_{d}"] = (naps.active + naps.inactive).mean((1, 2))
        found[f"nap_labels_recall_{d}"] = recall(wrong.followed(test), wrong_test)
        stability = {"": (d, naps), "_null": (d, shuffled(naps, units)), "labels_": (f"labels {d}", wrong)}
        for kind, (key, patterns) in stability.items():
            name = f"nap_{kind}stability_{d}" if kind == "labels_" else f"nap_stability{kind}_{d}"
            same = torch.full((len(y),), torch.nan) if not before else jaccard(before[key], patterns)
            found[name] = same
    return found, now


def recall(follow: Tensor, y: Tensor) -> Tensor:
    """The share of samples that follow their own class's NAP."""
    return follow.gather(2, y[..., None])[..., 0].double().mean(1)


def shuffled_labels(y: Tensor) -> Tensor:
    """Labels dealt out again among the samples; -1, which fills up, stays where it is."""
    generator, dealt = torch.Generator().manual_seed(0), y.clone()
    for row, new in zip(y, dealt, strict=True):
        real = (row >= 0).nonzero()[:, 0]
        new[real] = row[real[torch.randperm(len(real), generator=generator)]]
    return dealt


# Looking: snapshots in order


def ensemble_at(setting: Setting, folder: Path, step: int, which: slice) -> nn.Module:
    """Some of a snapshot's networks as an ensemble of their own."""
    part = new_state(replace(setting, seeds=setting.seeds[which])).model
    saved = torch.load(folder / f"{step}.pt", weights_only=True)
    part.load_state_dict({k: v[which] if v.dim() else v for k, v in saved.items()})
    return part.requires_grad_(False)


@torch.no_grad()
def look_at_some(name: str, which: slice) -> dict[str, np.ndarray]:
    """Every measure of some networks of a setting through time, (looks, networks)."""
    setting = SETTINGS[name]
    seen = points(setting, setting.seeds[which])
    loss = "cross_entropy" if setting.task == "addition" else "squared_error"
    rows, before, naps, first_radius = [], None, {}, None
    for step in looks(setting):
        model = ensemble_at(setting, RUNS / name, step, which)
        row = basics(model, seen, loss)
        if isinstance(model, Gated):
            row["own_gates_accuracy"] = training.accuracy(model.live, seen.x_test, seen.y_test)
        if not setting.brief:
            now = bends(model, seen)
            if first_radius is None:
                first_radius = radius_of(model, seen)
            row |= complexity(model, seen, now, before, first_radius)
            more, naps = nap_measures(model, seen, naps)
            row |= more | spread(model, seen, 0.4 if seen.classes == P else 0.1)
            row |= sharpness(model.requires_grad_(True), seen, loss)
            model.requires_grad_(False)
            before = now
            if setting.task == "addition":
                row |= waves(model, seen)
        if setting.task == "digits":
            row |= robust_digits(model, seen)
        elif setting.freeze_at is None:
            row |= robust_addition(model, seen)
        rows.append({k: v.detach().double().numpy() for k, v in row.items()})
    return {k: np.stack([row[k] for row in rows]) for k in rows[0]}


def look(name: str) -> dict[str, np.ndarray]:
    """Every measure of all networks of a setting; looked at once, a few networks at a time, and kept."""
    found = kept_looks(name, "look", look_at_some)
    if SETTINGS[name].brief:
        return found
    more = kept_looks(name, "closer", look_closer)
    return found | more | {"seconds": found["seconds"] + more["seconds"]}


def kept_looks(name: str, kind: str, ask: Callable[[str, slice], dict[str, np.ndarray]]) -> dict:
    setting, parts, begins = SETTINGS[name], [], range(0, len(SETTINGS[name].seeds), TOGETHER)
    for begin in begins:
        kept = RUNS / name / f"{kind} {begin}.npz"
        if not kept.exists():
            clock = time.process_time()
            found = ask(name, slice(begin, begin + TOGETHER))
            seconds = time.process_time() - clock
            recordings.save(
                kept, found | {"seconds": seconds}, command="a part of one_axis.py",
                seed=setting.seeds[begin : begin + TOGETHER], seconds=seconds,
            )  # fmt: skip
            print(f"{name}: {kind} at networks from {begin} on in {seconds:.0f} s", flush=True)
        parts.append(recordings.load(kept).arrays)
    joined = {k: np.concatenate([part[k] for part in parts], 1) for k in parts[0] if k != "seconds"}
    return joined | {"seconds": sum(float(part["seconds"]) for part in parts)}


def look_closer(name: str, which: slice) -> dict[str, np.ndarray]:
    """What was asked after the first look: robustness apart from accuracy, (looks, networks)."""
    setting, rows = SETTINGS[name], []
    seen = points(setting, setting.seeds[which])
    for step in looks(setting):
        row = closer(ensemble_at(setting, RUNS / name, step, which), seen)
        rows.append({k: v.detach().double().numpy() for k, v in row.items()})
    return {k: np.stack([row[k] for row in rows]) for k in rows[0]}


def is_trained(name: str) -> bool:
    return (RUNS / name / f"{SETTINGS[name].steps}.pt").exists()


def is_looked_at(name: str) -> bool:
    begins = range(0, len(SETTINGS[name].seeds), TOGETHER)
    kinds = ("look",) if SETTINGS[name].brief else ("look", "closer")
    return all((RUNS / name / f"{kind} {begin}.npz").exists() for begin in begins for kind in kinds)


# Proofs


CERTIFIED, IMAGES, SECONDS = 5, 60, 1.0  # runs, test images, and the time limit of one proof


def certify(name: str) -> None:
    """Prove or refute, with `minigrok.verify`, that test images are robust at eps .05; kept run by run."""
    from minigrok import verify

    setting = SETTINGS[name]
    for k, seed in enumerate(setting.seeds[:CERTIFIED]):
        kept = RUNS / name / f"certified {seed}.npz"
        if kept.exists():
            continue
        clock, seen, rows = time.process_time(), points(setting, (seed,)), []
        x, y = seen.x_test[0, :IMAGES], seen.y_test[0, :IMAGES]
        for step in certified_at(setting):
            net = ensemble_at(setting, RUNS / name, step, slice(k, k + 1))[0].requires_grad_(False)
            broken = fooled(net, x, y, 0.05) | fooled(net, x, y, 0.05, "cross_entropy")
            status = ["falsified"] * IMAGES
            for i in (~broken).nonzero()[:, 0].tolist():  # the rest is refuted already
                status[i] = verify.certify(net, int(y[i]), center=x[i], eps=0.05, timeout=SECONDS).status
            counts = [status.count(kind) for kind in ("verified", "falsified", "unknown")]
            assert sum(counts) == IMAGES, f"a ball is never empty: {set(status)}"
            rows.append([*counts, int((~broken).sum())])
        found = np.array(rows) / IMAGES
        seconds = time.process_time() - clock
        recordings.save(
            kept, {"shares": found, "seconds": seconds}, command="a part of one_axis.py", seed=seed,
            seconds=seconds,
        )  # fmt: skip
        print(f"{name}: proofs for seed {seed} in {seconds:.0f} s", flush=True)


def certified_at(setting: Setting) -> list[int]:
    """The looks at which proofs are tried; before these of `digits` next to nothing survives an attack."""
    return [looks(setting)[k] for k in ((10, 15, -1) if setting.scale == 1 else (14, 17, 20, 22, 24))]


def certificates(name: str) -> dict[str, np.ndarray]:
    files = [RUNS / name / f"certified {seed}.npz" for seed in SETTINGS[name].seeds[:CERTIFIED]]
    shares = [recordings.load(file)["shares"] for file in files if file.exists()]
    if not shares:
        return {}
    kinds = ("certified_05", "refuted_05", "undecided_05", "attacked_05")
    found = dict(zip(kinds, np.stack(shares).transpose(2, 1, 0), strict=True))
    return found | {"steps_certified": np.array(certified_at(SETTINGS[name]))}


# Turns


@dataclass(frozen=True)
class Measure:
    """How a curve's turn is found: the least change that counts, and of what kind it is."""

    threshold: float  # of the change itself, or a share of the larger of early and end value
    relative: bool = False
    fall: bool = False  # from the largest value since the plateau began


SHARE, ENTROPY, RATIO = Measure(0.1), Measure(0.1), Measure(0.1, relative=True)
MEASURES = {
    **dict.fromkeys(("train_accuracy", "test_accuracy", "noisy_accuracy", "commutes"), SHARE),
    **dict.fromkeys(("robust_05", "robust_10", "robust_given_05", "robust_given_10", "noisy_given"), SHARE),
    **{f"robust_train_{a}": SHARE for a in ("05", "10", "20")},
    **dict.fromkeys(("noisy_train", "wrong_agrees"), SHARE),
    **dict.fromkeys(("norm", "dead", "always_on"), RATIO),
    **dict.fromkeys(("train_loss", "test_loss", "sharpness"), Measure(0.5, relative=True)),
    "test_loss_fall": Measure(0.5, relative=True, fall=True),
    "sharpness_fall": Measure(0.5, relative=True, fall=True),
    **{f"complexity_{k}": RATIO for k in ("train", "test", "random", "reach", "fixed", "live")},
    **{f"complexity_{k}_fall": replace(RATIO, fall=True) for k in ("train", "test", "random", "reach")},
    **dict.fromkeys(("pe", "pmi", "ed", "mid"), ENTROPY),
    **dict.fromkeys(("fourier_unit", "fourier_top5"), SHARE),
    **{f"nap_{k}_{d}": SHARE for k in ("recall", "ambiguity", "size", "stability") for d in (95, 99)},
    **{f"nap_labels_{k}_{d}": SHARE for k in ("recall", "stability") for d in (95, 99)},
}  # fmt: skip


def turn(steps: np.ndarray, values: np.ndarray, plateau: tuple[int, int], how: Measure) -> np.ndarray:
    """The interval (2,) in which a curve (looks,) has made half of its change; (T, inf): not by step T."""
    if how.fall:  # the largest value is the plateau; the end cannot lie above it
        since = int((steps >= plateau[0]).argmax())
        top = steps[since + int(values[since:].argmax())]
        plateau = top, top
    return measures.turn(steps, values, plateau, least=how.threshold, relative=how.relative)


def turns(name: str, curves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The turns of all measures of a setting's curves, (2, runs) each."""
    setting, found = SETTINGS[name], {}
    steps = np.array(looks(setting))
    for measure, how in MEASURES.items():
        values = curves.get(measure.removesuffix("_fall") if how.fall else measure)
        if values is None or np.isnan(values).all():
            continue
        found[measure] = np.array([turn(steps, v, setting.plateau, how) for v in values.T]).T
    return found


def lag(turned: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """A measure's lag behind test accuracy, both (2, runs): median, its 95 % interval, and three shares.

    In log10 of steps, over the runs in which accuracy turns; below 0 the measure leads. Shares: surely
    leading, surely lagging, turning at all. NaN if accuracy turns in fewer than three runs.
    """
    turned, accuracy = (part[:, np.isfinite(accuracy[1])] for part in (turned, accuracy))
    n = accuracy.shape[1]
    if n < 3:
        return np.full(6, np.nan)
    middle = [np.log10(part).mean(0) for part in (turned, accuracy)]
    each = middle[0] - middle[1]  # infinite where the measure does not turn
    again = np.random.default_rng(0).integers(n, size=(2000, n))
    medians = np.quantile(each[again], 0.5, axis=1, method="lower")
    low, high = np.quantile(medians, [0.025, 0.975], method="nearest")
    shares = [turned[1] <= accuracy[0], turned[0] >= accuracy[1], np.isfinite(turned[1])]
    return np.array([np.quantile(each, 0.5, method="lower"), low, high, *[s.mean() for s in shares]])


# Forecasts


HALF = 0.5  # what counts as grokking in the group mixed_half
GROUPS = {
    "borderline": ["borderline"],
    "mixed": ["mixed"],
    "mixed_half": ["mixed"],
    "mixed_digits": ["mixed_digits"],
    "pool": ["addition", "no_decay", "random_table"],
    "pool_digits": ["digits", "digits_random"],
}


def auc(values: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """The chance that a run that groks has a larger value than one that does not; a tie counts half.

    values (runs,) or (runs, measures) gives () or (measures,). It is scikit-learn's `roc_auc_score`, which
    takes one measure at a time, and would take minutes for all the shuffles below.
    """
    good, bad = values[outcome][:, None], values[~outcome][None]
    return ((good > bad) + 0.5 * (good == bad)).mean((0, 1))


def held_out_auc(values: np.ndarray, outcome: np.ndarray, repeats: int = 200, seed: int = 0) -> np.ndarray:
    """AUC on runs that did not say which way round to read the measure, of (runs,) or (runs, measures).

    Half of the runs of each outcome, drawn `repeats` times, give the direction; the others are scored.
    """
    draw, scores = np.random.default_rng(seed), []
    for _ in range(repeats):
        learn = np.zeros(len(outcome), dtype=bool)
        for kind in (True, False):
            here = (outcome == kind).nonzero()[0]
            learn[draw.permutation(here)[: len(here) // 2]] = True
        score = auc(values[~learn], outcome[~learn])
        scores.append(np.where(auc(values[learn], outcome[learn]) >= 0.5, score, 1 - score))
    return np.mean(scores, 0)


def with_interval(a: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """An AUC with its 95 % interval (Hanley and McNeil 1982), (3, ...)."""
    n, m = outcome.sum(), (~outcome).sum()
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    spread = (a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m)
    reach = 1.96 * np.sqrt(np.maximum(spread, 0))
    return np.array([a, np.maximum(a - reach, 0), np.minimum(a + reach, 1)])


def best_by_chance(values: np.ndarray, outcome: np.ndarray, shuffles: int = 200) -> float:
    """What the best of all measures (runs, measures) stays below in 95 % of shuffles of the outcomes."""
    draw = np.random.default_rng(1)
    best = [held_out_auc(values, draw.permutation(outcome), 20, k).max() for k in range(shuffles)]
    return float(np.quantile(best, 0.95))


def moments(name: str, curves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """For each moment of forecasting the look (its number) at which every run is asked."""
    steps, train_accuracy = np.array(looks(SETTINGS[name])), curves["train_accuracy"]
    fitted = train_accuracy >= 0.99
    fit = np.where(fitted.any(0), fitted.argmax(0), len(steps) - 1)
    at = {f"T{k}": int((steps <= steps[-1] / k).nonzero()[0][-1]) for k in (20, 10, 4)}
    return {"fit": fit} | {moment: np.full_like(fit, k) for moment, k in at.items()}


def forecasts(all_curves: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    found = {}
    for group, names in GROUPS.items():
        if not all(name in all_curves for name in names):
            continue
        parts = [(name, all_curves[name]) for name in names]
        level = HALF if group.endswith("_half") else None
        found[f"forecast/{group}/groks"] = outcome = np.concatenate([groks(*p, level) for p in parts])
        if min(outcome.sum(), (~outcome).sum()) < 5:
            continue
        for moment in moments(*parts[0]):
            columns = asked(parts, moment)
            values, where = np.stack(list(columns.values()), 1), f"forecast/{group}/{moment}"
            scores = with_interval(held_out_auc(values, outcome), outcome)
            found |= {f"{where}/{measure}": scores[:, k] for k, measure in enumerate(columns)}
            found[f"{where}/best_by_chance"] = np.array(best_by_chance(values, outcome))
    return found


def asked(parts: list[tuple[str, dict[str, np.ndarray]]], moment: str) -> dict[str, np.ndarray]:
    """What every measure says at a moment, (runs,) each; those that are missing in some run are left out."""
    columns = known(parts)
    for measure in sorted(set.intersection(*[set(curves) for _, curves in parts])):
        at = [(curves[measure], moments(name, curves)[moment]) for name, curves in parts]
        values = np.concatenate([curve[k, np.arange(len(k))] for curve, k in at])
        if np.isfinite(values).all():
            columns[measure] = values
    return columns


def known(parts: list[tuple[str, dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    """What is known before a mixed run begins: its settings, to be asked like measures."""
    runs = [own(SETTINGS[name], seed) for name, _ in parts for seed in SETTINGS[name].seeds]
    if not all(SETTINGS[name].drawn for name, _ in parts):
        return {}
    return {f"known_{field}": np.array([getattr(run, field) for run in runs]) for field in varied(runs[0])}


def varied(setting: Setting) -> tuple[str, str]:
    return ("fraction" if setting.task == "addition" else "scale", "weight_decay")


def groks(name: str, curves: dict[str, np.ndarray], level: float | None = None) -> np.ndarray:
    level = GROKS[SETTINGS[name].task] if level is None else level
    return curves["test_accuracy"][-1] >= level


# Recording


def curves_of(name: str) -> tuple[dict[str, np.ndarray], float]:
    """A setting's curves, (looks, runs) each, and the seconds of a core that training and looking took."""
    curves = look(name)
    seconds = curves["seconds"]
    saved = torch.load(RUNS / name / "checkpoint.pt", weights_only=True)
    clock = [float(seen["cpu"]) for seen in saved["records"]]  # begins anew where a run was stopped
    trained = sum(max(after - before, 0) for before, after in pairwise(clock))
    curves = {k: without_empty_naps(k, v, curves) for k, v in curves.items() if k != "seconds"}
    return curves | given_right(curves), trained + seconds


def given_right(curves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Robust accuracy over the accuracy on the same samples; nothing where that was not asked."""
    if "attacked_accuracy" not in curves:
        return {}
    right = np.maximum(curves["attacked_accuracy"], FEW_RIGHT)
    return {f"robust_given_{a}": curves[f"robust_{a}"] / right for a in ("05", "10")}


def without_empty_naps(measure: str, values: np.ndarray, curves: dict[str, np.ndarray]) -> np.ndarray:
    """NaN for what is said of NAPs that fix fewer than a hundredth of the units: every input follows them."""
    kind, _, delta = measure.rpartition("_")
    if not kind.startswith("nap_") or kind == "nap_size":
        return values
    return np.where(curves[f"nap_size_{delta}"] < 0.01, np.nan, values)


def short(values: np.ndarray) -> np.ndarray:
    """float32 with four digits: less to keep."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log10(np.abs(values)))
    unit = 10.0 ** (np.where(np.isfinite(exponent), exponent, 0) - 3)
    return (np.round(values / unit) * unit).astype(np.float32)


def record() -> None:
    """Write what there is: every setting that has been looked at."""
    arrays, all_curves, seconds, notes = {}, {}, 0.0, []
    for name in filter(is_looked_at, SETTINGS):
        setting = SETTINGS[name]
        curves, cost = curves_of(name)
        all_curves[name], seconds = curves, seconds + cost
        notes.append(f"{name} {len(setting.seeds)} runs")
        arrays |= {f"{name}/steps": np.array(looks(setting)), f"{name}/seeds": np.array(setting.seeds)}
        arrays |= {f"{name}/{k}": short(v) for k, v in curves.items()}
        arrays |= {f"{name}/{k}": v for k, v in certificates(name).items()}
        if setting.drawn:
            for field in varied(setting):
                drawn = [getattr(own(setting, seed), field) for seed in setting.seeds]
                arrays[f"{name}/drawn_{field}"] = short(np.array(drawn))
        turned = turns(name, curves)
        arrays |= {f"{name}/turn/{k}": v.astype(np.float32) for k, v in turned.items()}
        arrays |= {f"lag/{name}/{k}": short(lag(v, turned["test_accuracy"])) for k, v in turned.items()}
    arrays |= {k: v if v.dtype == bool else short(v) for k, v in forecasts(all_curves).items()}
    task = data.arithmetic("add", P, split="unordered")
    recordings.save(
        RECORDING, arrays, command="python experiments/one_axis.py", seed=MANY, seconds=seconds,
        data=(task.x_train, task.y_train), note="One CPU core, shared with other work. " + ", ".join(notes),
    )  # fmt: skip
    print(f"wrote {RECORDING} ({RECORDING.stat().st_size / 1e6:.2f} MB)", flush=True)


def write_table(path: Path) -> None:
    """The recording's turns as a table: one row for each setting, run and measure."""
    kept = recordings.load(RECORDING)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["setting", "seed", "measure", "after_step", "by_step", "final_test_accuracy"])
        for key, intervals in kept.arrays.items():
            name, _, measure = key.partition("/turn/")
            if not measure:
                continue
            final = kept[f"{name}/test_accuracy"][-1]
            for seed, after, by, last in zip(kept[f"{name}/seeds"], *intervals, final, strict=True):
                table.writerow([name, seed, measure, f"{after:.0f}", f"{by:.0f}", f"{last:.4g}"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="these settings alone")
    parser.add_argument("--record", action="store_true", help="train nothing: record what there is")
    parser.add_argument("--csv", type=Path, help="write the recording's turns as a table, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.csv:
        return write_table(options.csv)
    for name in [] if options.record else options.only or SETTINGS:
        if not is_trained(name):
            print(f"training {name}", flush=True)
            if train(name).interrupted:
                return
        look(name)
    for name in ("digits", "digits_default"):
        if name in SETTINGS and is_trained(name) and not options.record:
            certify(name)
    record()


if __name__ == "__main__":
    main()

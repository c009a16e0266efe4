"""A figure with time in it: one scrub bar moves curves and pictures together.

A player is one piece of HTML with its style, its script and its pictures inside. It asks no server for
anything, so it works in JupyterLab, in the published book, from a file, and without a network. Where scripts
do not run, one telling picture and the curves stand there as an ordinary figure.
"""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from matplotlib.ticker import MaxNLocator
from PIL import Image

from minigrok.course._palette import DASHES

LARGEST = 1_500_000  # bytes: a page of the book with a few players still loads at once
_COLOURS = 128  # of a picture


@dataclass(frozen=True)
class Player:
    """A self-contained interactive figure; a notebook shows it as the value of a cell."""

    title: str
    n_steps: int
    html: str = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Size of the HTML in bytes."""
        return len(self.html.encode())

    def __repr__(self) -> str:
        return f"Player({self.title!r}, {self.n_steps} steps, {round(self.nbytes / 1000)} kB)"

    def _repr_html_(self) -> str:
        return self.html


def player(
    steps: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    frames: Mapping[str, Sequence[np.ndarray | bytes]],
    *,
    title: str,
    alt: str | Mapping[str, str],
    telling: int | None = None,
    xlabel: str = "training step",
    captions: Sequence[str] | None = None,
    ylabels: str | Mapping[str, str] = "",
) -> Player:
    """Make a player of T steps.

    Args:
        steps: (T,) increasing numbers. Evenly spaced ones are drawn so; others on a logarithmic axis, which
            has room for step 0.
        curves: for every name one run (T,), or one row for each seed (S, T): thin lines, and a thick one for
            the median. NaN leaves a gap. Positive values over three decades get a logarithmic axis.
        frames: for every name T pictures of one size: uint8 (H, W, 3), or finished PNG as bytes.
        title: one line above the figure.
        alt: what a reader should see in the telling picture, in words; with several pictures, one text for
            each name.
        telling: which step is shown first, is printed, and is seen where scripts do not run: a position in
            `steps`. None is the last.
        xlabel: what a step is.
        captions: one sentence for each step.
        ylabels: what the curves measure. One label for all, or {name: label}; curves with the same label
            share a panel.

    Returns:
        A `Player` of at most 1.5 MB.

    Raises:
        ValueError: lengths, sizes or names that do not fit, or a player that would be larger.

    Example:
        >>> pictures = [np.full((8, 8, 3), shade, dtype=np.uint8) for shade in (0, 128, 255)]
        >>> rising = {"accuracy": [0.5, 0.7, 1.0]}
        >>> film = player([0, 1, 10], rising, {"map": pictures}, title="Dawn", alt="White.")
        >>> film.n_steps, film.nbytes < 20_000
        (3, True)

    Used in lessons 02, 04, 06, 09 and 10.
    """
    steps = _increasing(steps)
    if not frames:
        raise ValueError(
            "frames is empty. Give at least one list of pictures, such as {'regions': pictures}."
        )
    film = _Film(
        steps=steps,
        curves={name: _rows(name, values, len(steps)) for name, values in curves.items()},
        frames={name: _pictures(name, pictures, len(steps)) for name, pictures in frames.items()},
        labels=_for_each("ylabels", ylabels, curves),
        alts=_alts(alt, frames),
        captions=_captions(captions, len(steps)),
        telling=_position(telling, len(steps)),
        xlabel=xlabel,
    )
    made = Player(title, len(steps), _page(film, title))
    _check_size(made, film)
    return made


# ---- what comes in -----------------------------------------------------------------------------------------


def _increasing(steps: object) -> np.ndarray:
    steps = np.asarray(steps, dtype=float)
    if steps.ndim != 1 or len(steps) < 2:
        raise ValueError(f"expected at least two steps (T,), got the shape {steps.shape}.")
    if not np.isfinite(steps).all() or not (np.diff(steps) > 0).all():
        raise ValueError(f"steps must be finite and increase from each to the next, got {steps.tolist()}.")
    return steps


def _rows(name: str, values: object, n_steps: int) -> np.ndarray:
    """One curve as (S, T)."""
    rows = np.atleast_2d(np.asarray(values, dtype=float))
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] != n_steps:
        raise ValueError(
            f"curve {name!r}: expected ({n_steps},) or (seeds, {n_steps}), one value for each step, "
            f"got the shape {np.shape(values)}."
        )
    if not np.isfinite(rows).any():
        raise ValueError(f"curve {name!r} has no finite value. Leave it out.")
    return np.where(np.isfinite(rows), rows, np.nan)


def _pictures(name: str, pictures: Sequence[np.ndarray | bytes], n_steps: int) -> list[bytes]:
    if len(pictures) != n_steps:
        raise ValueError(
            f"frames {name!r}: expected a picture for each of the {n_steps} steps, got {len(pictures)}."
        )
    made = [_png(name, picture) for picture in pictures]
    sizes = sorted({_size(picture) for picture in made})
    if len(sizes) > 1:
        raise ValueError(
            f"frames {name!r}: expected pictures of one size, got {' and '.join(map(str, sizes))}."
        )
    return made


def _png(name: str, picture: np.ndarray | bytes) -> bytes:
    """A small PNG: of the colours at most 128, which a picture of flat areas never notices."""
    if isinstance(picture, bytes):
        if not picture.startswith(b"\x89PNG\r\n"):
            raise ValueError(
                f"frames {name!r}: the bytes {picture[:6]!r}... are no PNG. Give PNG or uint8 arrays."
            )
        return picture
    pixels = np.asarray(picture)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(
            f"frames {name!r}: expected uint8 pictures (H, W, 3), got {pixels.dtype} {pixels.shape}. "
            "Numbers in [0, 1] become one with (255 * picture).astype(np.uint8)."
        )
    file = io.BytesIO()
    small = Image.fromarray(pixels).quantize(_COLOURS, dither=Image.Dither.NONE)
    small.save(file, "PNG", compress_level=6)  # level 9 takes several times as long for a few per cent
    return file.getvalue()


def _size(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


def _for_each(what: str, text: str | Mapping[str, str], names: Mapping[str, object]) -> dict[str, str]:
    if isinstance(text, str):
        return dict.fromkeys(names, text)
    if set(text) != set(names):
        raise ValueError(f"{what}: expected one text for each of {sorted(names)}, got {sorted(text)}.")
    return {name: text[name] for name in names}


def _alts(alt: str | Mapping[str, str], frames: Mapping[str, object]) -> dict[str, str]:
    alts = _for_each("alt", alt, frames)
    for name, text in alts.items():
        if not text.strip():
            raise ValueError(f"alt: say in words what a reader should see in {name!r}; it is empty.")
    return alts


def _captions(captions: Sequence[str] | None, n_steps: int) -> list[str]:
    if captions is not None and len(captions) != n_steps:
        raise ValueError(f"expected a caption for each of the {n_steps} steps, got {len(captions)}.")
    return list(captions or [])


def _position(telling: int | None, n_steps: int) -> int:
    telling = n_steps - 1 if telling is None else telling
    if telling not in range(n_steps):
        raise ValueError(
            f"telling is a position in steps, from 0 to {n_steps - 1}, got {telling!r}. "
            "For the step 300 give steps.index(300)."
        )
    return int(telling)


def _check_size(made: Player, film: "_Film") -> None:
    if made.nbytes <= LARGEST:
        return
    kept = int(len(film.steps) * LARGEST / made.nbytes)
    pictures = []
    for name, frames in film.frames.items():
        (width, height), size = _size(frames[0]), sum(map(len, frames)) / 1e6
        pictures.append(
            f"{len(frames)} pictures {name!r} of {width} x {height} pixels take {size * 4 / 3:.1f} MB"
        )
    raise ValueError(
        f"the player has {made.nbytes / 1e6:.1f} MB, and at most {LARGEST / 1e6} MB fit on a page: "
        f"{', '.join(pictures)}. Thin them to about {kept} steps, or make them smaller or plainer."
    )


# ---- what is drawn -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scale:
    """From numbers to [0, 1] along an axis."""

    bend: Callable[[np.ndarray], np.ndarray]
    low: float
    high: float
    ticks: np.ndarray

    def __call__(self, values: object) -> np.ndarray:
        low, high = self.bend(np.array([self.low, self.high]))
        return (self.bend(np.asarray(values, dtype=float)) - low) / (high - low)


def _step_scale(steps: np.ndarray) -> _Scale:
    """Evenly spaced steps or steps of one size: linear. Others: logarithmic, with room for step 0."""
    low, high = steps[0], steps[-1]
    first = steps[steps > 0].min(initial=high)
    if low < 0 or high < 20 * first or np.ptp(np.diff(steps)) < 1e-6 * (high - low):
        return _Scale(lambda s: s, low, high, _round_numbers(low, high))
    powers = _powers_of_ten(first, high)
    if low == 0:
        return _Scale(lambda s: np.log1p(s / first), low, high, np.append(0.0, powers))
    return _Scale(np.log, low, high, powers)


def _value_scale(values: np.ndarray) -> _Scale:
    """Logarithmic for positive values over three decades."""
    low, high = np.nanmin(values), np.nanmax(values)
    if low > 0 and high > 1000 * low:
        return _Scale(np.log, low, high, _powers_of_ten(low, high))
    margin = 0.04 * (high - low) or 0.5
    low, high = low - margin, high + margin
    return _Scale(lambda v: v, low, high, _round_numbers(low, high))


def _round_numbers(low: float, high: float) -> np.ndarray:
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return np.round(ticks[(ticks >= low) & (ticks <= high)], 12)


def _powers_of_ten(low: float, high: float) -> np.ndarray:
    exponents = np.arange(np.ceil(np.log10(low) - 1e-9), np.log10(high) + 1e-9)
    return 10.0 ** exponents[:: max(1, -(-len(exponents) // 6))]


@dataclass(frozen=True)
class _Film:
    """Everything a player shows, checked."""

    steps: np.ndarray
    curves: dict[str, np.ndarray]
    frames: dict[str, list[bytes]]
    labels: dict[str, str]
    alts: dict[str, str]
    captions: list[str]
    telling: int
    xlabel: str

    @cached_property
    def panels(self) -> dict[str, list[str]]:
        """The names of the curves in every panel."""
        return {label: [n for n in self.curves if self.labels[n] == label] for label in self.labels.values()}

    @cached_property
    def medians(self) -> dict[str, np.ndarray]:
        """The thick line of every curve, (T,), panel by panel."""
        return {
            name: np.median(self.curves[name], axis=0) for names in self.panels.values() for name in names
        }

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """The thick lines in words."""
        return {name: _words(line) for name, line in self.medians.items()}

    @cached_property
    def said(self) -> list[str]:
        """What is read out at every step."""
        lines = []
        for i, step in enumerate(self.steps):
            values = "".join(f"; {name} {words[i]}" for name, words in self.values.items())
            caption = f". {self.captions[i]}" if self.captions else ""
            lines.append(f"{self.xlabel} {_number(step)}{values}{caption}")
        return lines


def _number(value: float) -> str:
    """Three figures, written out: 1,000 and 0.00012; an unknown value is a dash."""
    if np.isnan(value):
        return "–"
    if float(value).is_integer():
        return f"{value:,.0f}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else np.format_float_positional(rounded, trim="-")


def _words(values: np.ndarray) -> list[str]:
    """The values of one curve, all with the same decimals where that says enough: 0.98 and 1.00."""
    known = values[~np.isnan(values)]
    if (known == np.round(known)).all():
        return [_number(value) for value in values]
    decimals = max(0, 2 - int(np.rint(np.log10(np.abs(known).max()))))
    rough = (np.abs(values) < 10.0 ** (1 - decimals)) | np.isnan(values)
    return [_number(v) if r and v != 0 else f"{v:,.{decimals}f}" for v, r in zip(values, rough, strict=True)]


class _Canvas:
    """One panel of curves as SVG, 380 units wide, and the heights of its curves for the script."""

    width, left, right, top, bottom = 380, 48, 14, 8, 42

    def __init__(self, film: _Film, label: str):
        self.film, self.label, self.names = film, label, film.panels[label]
        self.height = {1: 250, 2: 185}.get(len(film.panels), 165)
        self.across = _step_scale(film.steps)
        self.up = _value_scale(np.concatenate([film.curves[name].ravel() for name in self.names]))

    def x(self, steps: object) -> np.ndarray:
        return np.round(self.left + self.across(steps) * (self.width - self.left - self.right), 1)

    def y(self, values: object) -> np.ndarray:
        return np.round(self.top + (1 - self.up(values)) * (self.height - self.top - self.bottom), 1)

    def svg(self) -> str:
        parts = [*self._axes(), *(part for name in self.names for part in self._curve(name)), *self._cursor()]
        words = escape(self._in_words())
        size = f'viewBox="0 0 {self.width} {self.height}"'
        return f'<svg {size} role="img" aria-label="{words}">\n' + "\n".join(parts) + "\n</svg>"

    def _axes(self) -> list[str]:
        end, foot = self.width - self.right, self.height - self.bottom
        parts = []
        for tick, y in zip(self.up.ticks, self.y(self.up.ticks), strict=True):
            parts.append(f'<path class="mgp-grid" d="M{self.left} {y}H{end}"/>')
            parts.append(
                f'<text x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
            )
        parts.append(f'<path class="mgp-axis" d="M{self.left} {foot}H{end}"/>')
        for tick, x in zip(self.across.ticks, self.x(self.across.ticks), strict=True):
            parts.append(f'<path class="mgp-axis" d="M{x} {foot}v4"/>')
            parts.append(f'<text x="{x}" y="{foot + 18}" text-anchor="middle">{_number(tick)}</text>')
        middle = (self.left + end) / 2
        parts.append(
            f'<text x="{middle}" y="{foot + 37}" text-anchor="middle">{escape(self.film.xlabel)}</text>'
        )
        return parts

    def _curve(self, name: str) -> list[str]:
        seeds, look = self.film.curves[name], _look(self.film, name)
        thin = f'<path class="mgp-seed" style="{look.split(";")[0]}" d="'
        parts = [thin + self._path(row) + '"/>' for row in seeds] if len(seeds) > 1 else []
        return [*parts, f'<path class="mgp-curve" style="{look}" d="{self._path(self.film.medians[name])}"/>']

    def _path(self, values: np.ndarray) -> str:
        """M begins a piece, L goes on; a gap begins a new piece."""
        x, known = self.x(self.film.steps), ~np.isnan(values)
        goes_on = known & np.append(False, known[:-1])
        return "".join(
            f"{'L' if goes_on[i] else 'M'}{x[i]:g} {self.y(values[i]):g}" for i in np.flatnonzero(known)
        )

    def _cursor(self) -> list[str]:
        i = self.film.telling
        parts = [f'<g class="mgp-cursor" transform="translate({self.x(self.film.steps)[i]} 0)">']
        parts.append(f'<line y1="{self.top}" y2="{self.height - self.bottom}"/>')
        for name in self.names:
            value, fill = (
                self.film.medians[name][i],
                _look(self.film, name).split(";")[0].replace("stroke", "fill"),
            )
            place = 'style="display:none;' if np.isnan(value) else f'cy="{self.y(value)}" style="'
            parts.append(f'<circle r="4.5" {place}{fill}"/>')
        return [*parts, "</g>"]

    def _in_words(self) -> str:
        film, shown = self.film, sorted({0, self.film.telling, len(self.film.steps) - 1})
        curves = []
        for name in self.names:
            values = ", ".join(f"{film.values[name][i]} at {_number(film.steps[i])}" for i in shown)
            curves.append(f"{name}: {values}.")
        return f"{self.label or 'Curves'} over {film.xlabel}. " + " ".join(curves)


def _look(film: _Film, name: str) -> str:
    """Colour and dashes of a curve."""
    i = list(film.curves).index(name) % len(DASHES)
    dashes = " ".join(f"{2.2 * length:.1f}" for length in DASHES[i])
    return f"stroke:var(--c{i})" + (f";stroke-dasharray:{dashes}" if dashes else "")


# ---- the page ----------------------------------------------------------------------------------------------


def _page(film: _Film, title: str) -> str:
    template = Template(files("minigrok.course").joinpath("player.html").read_text(encoding="utf-8"))
    canvases = [_Canvas(film, label) for label in film.panels]
    panels = [_picture(film, name) for name in film.frames] + _curve_panels(film, canvases)
    caption = f'<div class="mgp-caption">{escape(film.captions[film.telling])}</div>' if film.captions else ""
    parts = {
        "title": escape(title),
        "panels": "\n".join(panels),
        "caption": caption,
        "xlabel": escape(film.xlabel),
        "step": _number(film.steps[film.telling]),
        "said": escape(film.said[film.telling]),
        "telling": film.telling,
        "last": len(film.steps) - 1,
        "data": json.dumps(_data(film, canvases), separators=(",", ":")).replace("<", "\\u003c"),
    }
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]  # the same data, the same page
    return template.substitute(parts, key=key)


def _picture(film: _Film, name: str) -> str:
    png = film.frames[name][film.telling]
    width, height = _size(png)
    return (
        f'<div class="mgp-picture"><div class="mgp-label">{escape(name)}</div>'
        f'<img class="dark-light" width="{width}" height="{height}" alt="{escape(film.alts[name])}" '
        f'src="data:image/png;base64,{_base64(png)}"></div>'
    )


def _curve_panels(film: _Film, canvases: list[_Canvas]) -> list[str]:
    """All panels of curves in one column."""
    if not canvases:
        return []
    parts = ['<div class="mgp-curves">']
    for canvas in canvases:
        rows = "".join(_legend_row(film, name) for name in canvas.names)
        parts.append(f'<div class="mgp-panel"><div class="mgp-label">{escape(canvas.label)}</div>')
        parts.append(
            f'<div class="mgp-plot">{canvas.svg()}\n<div class="mgp-legend">{rows}</div></div></div>'
        )
    return [*parts, "</div>"]


def _legend_row(film: _Film, name: str) -> str:
    seeds = len(film.curves[name])
    words = escape(name) + (f" (median of {seeds})" if seeds > 1 else "")
    line = f'<path class="mgp-curve" style="{_look(film, name)}" d="M0 4H30"/>'
    return (
        f'<div><svg viewBox="0 0 30 8" aria-hidden="true">{line}</svg><span>{words}</span>'
        f'<span class="mgp-value">{film.values[name][film.telling]}</span></div>'
    )


def _data(film: _Film, canvases: list[_Canvas]) -> dict[str, object]:
    """What the script needs, every number already in its place and every value already a word."""
    heights = [canvas.y(film.medians[name]) for canvas in canvases for name in canvas.names]
    pictures = [[_base64(png) for png in pictures] for pictures in film.frames.values()]
    for list_ in pictures:
        list_[film.telling] = ""  # stands in the page already
    return {
        "telling": film.telling,
        "pause": int(np.clip(8000 / len(film.steps), 150, 600)),
        "steps": [_number(step) for step in film.steps],
        "said": film.said,
        "captions": film.captions,
        "x": canvases[0].x(film.steps).tolist() if canvases else [],
        "y": [[None if np.isnan(y) else y for y in line.tolist()] for line in heights],
        "values": list(film.values.values()),
        "pictures": list(film.frames),
        "frames": pictures,
    }


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode()

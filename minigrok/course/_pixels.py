"""Pictures of a partition as pixels: fast, and exact at the centre of every pixel.

A canvas is a uint32 array (H, W), row 0 at the top: the four bytes of a colour in one number, which is
quicker to fill than three numbers.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba_array
from PIL import Image

from minigrok.course._palette import LAYER_COLOURS, PALETTE, SEQUENTIAL, TINTS
from minigrok.regions import Partition


def painted(partition: Partition, shape: tuple[int, int], colour: object) -> np.ndarray:
    """A canvas with the regions in their colours (see `plots.regions` for what `colour` may be)."""
    if colour is None:
        return np.full(shape, ink(["#FFFFFF"])[0])
    faces = faces_at_pixels(partition, shape)
    if isinstance(colour, str) and colour == "class":
        strengths = np.where(np.arange(len(PALETTE)) % 2, 0.25, 0.1)  # neighbours differ in grey, too
        return _pale(PALETTE, strengths[:, None])[classes_at_pixels(partition, faces) % len(PALETTE)]
    return _region_colours(partition, colour)[faces]


def as_bytes(canvas: np.ndarray) -> np.ndarray:
    """The same canvas as uint8 (H, W, 4), its last channel opaque."""
    return canvas.view(np.uint8).reshape(*canvas.shape, 4)


def halved(canvas: np.ndarray) -> np.ndarray:
    """Mean of every 2 x 2 pixels, as uint8 (H / 2, W / 2, 3): smooth lines."""
    return np.asarray(Image.fromarray(as_bytes(canvas)).reduce(2))[..., :3].copy()


def to_pixels(partition: Partition, xy: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Take coordinates (..., 2) to pixels (column, row); whole numbers are the centres of pixels."""
    (x0, x1), (y0, y1) = partition.box
    height, width = shape
    return (xy - [x0, y1]) * [width / (x1 - x0), -height / (y1 - y0)] - 0.5


# ---- which region, which class -----------------------------------------------------------------------------


def faces_at_pixels(partition: Partition, shape: tuple[int, int]) -> np.ndarray:
    """The region at the centre of every pixel, int (H, W).

    A row of pixel centres is a line through the plane. Where it crosses an edge, the region on the right of
    the edge begins; it fills the row up to the next crossing.
    """
    row, column, face = _crossings(partition, shape)
    begins = row * shape[1] + column
    ends = np.append(begins[1:], shape[0] * shape[1])
    return np.repeat(face, ends - begins).reshape(shape)


def _crossings(partition: Partition, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where rows of pixel centres cross edges, in reading order: row, first pixel behind, region behind."""
    a, b = to_pixels(partition, partition.vertices, shape)[partition.edges.T]
    falls = a[:, 1] > b[:, 1]  # rows are numbered downwards
    top, bottom = np.where(falls[:, None], [b, a], [a, b])
    behind = np.where(falls, partition.edge_faces[:, 1], partition.edge_faces[:, 0])
    first = np.ceil(top[:, 1]).astype(int)
    n_rows = np.ceil(bottom[:, 1]).astype(int) - first  # a corner on a row belongs to the edges below it
    lean = (bottom[:, 0] - top[:, 0]) / np.where(n_rows > 0, bottom[:, 1] - top[:, 1], 1.0)
    n_rows[behind < 0] = 0
    edge, count = _repeat(n_rows)
    row = first[edge] + count
    x = top[edge, 0] + (row - top[edge, 1]) * lean[edge]
    order = np.lexsort((lean[edge], x, row))  # edges from one corner: by their lean
    column = np.clip(np.ceil(x[order]).astype(int), 0, shape[1])
    return row[order], column, behind[edge[order]]


def _repeat(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entry i n[i] times: which one it is, and a count 0 ... n[i] - 1."""
    which = np.repeat(np.arange(len(n)), n)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(n) - n, n)


def classes_at_pixels(partition: Partition, faces: np.ndarray) -> np.ndarray:
    """The class at every pixel. A region whose corners agree is of one class; the others are evaluated."""
    winner = _winner(partition.outputs)[partition.edges]  # at both ends of every edge
    lowest, highest = np.full(partition.n_regions, winner.max()), np.zeros(partition.n_regions, dtype=int)
    for face in partition.edge_faces.T:
        np.minimum.at(lowest, face[face >= 0], winner[face >= 0].min(axis=1))
        np.maximum.at(highest, face[face >= 0], winner[face >= 0].max(axis=1))
    classes = lowest[faces]
    row, column = np.nonzero((lowest < highest)[faces])
    if len(row):
        (x0, x1), (y0, y1) = partition.box
        x = x0 + (column + 0.5) * (x1 - x0) / faces.shape[1]
        y = y1 - (row + 0.5) * (y1 - y0) / faces.shape[0]
        f = faces[row, column]
        outputs = np.einsum("nok,nk->no", partition.slopes[f], np.stack([x, y], axis=1))
        classes[row, column] = _winner(outputs + partition.offsets[f])
    return classes


def _winner(outputs: np.ndarray) -> np.ndarray:
    return (outputs[..., 0] > 0).astype(int) if outputs.shape[-1] == 1 else outputs.argmax(axis=-1)


# ---- colours -----------------------------------------------------------------------------------------------


def _region_colours(partition: Partition, colour: object) -> np.ndarray:
    """One colour for each region, uint32 (F,)."""
    n = partition.n_regions
    if isinstance(colour, np.ndarray):
        if colour.shape != (n,):
            raise ValueError(f"expected one number for each of the {n} regions, got shape {colour.shape}.")
        return ink(scale(colour).to_rgba(colour))
    if colour == "random":
        return ink(TINTS)[np.random.default_rng(0).integers(len(TINTS), size=n)]
    if colour == "slope":
        return _folded_paper(partition)
    if colour == "layer":
        return _pale(LAYER_COLOURS, 0.3)[np.minimum(_deepest_layer(partition), len(LAYER_COLOURS) - 1)]
    raise ValueError(
        f'colour must be "random", "slope", "layer", "class", an array ({n},) or None, got {colour!r}.'
    )


def scale(values: np.ndarray) -> ScalarMappable:
    """From numbers to colours, the smallest dark, the largest light."""
    return ScalarMappable(Normalize(values.min(), values.max()), SEQUENTIAL)


def _folded_paper(partition: Partition) -> np.ndarray:
    """Light from the upper left on the graph of the function, its height scaled to a mean slope of 1."""
    gradient = _gradient(partition)
    mean_square = np.average((gradient**2).sum(axis=1), weights=partition.areas)
    gradient = gradient / (np.sqrt(mean_square) or 1.0)
    light = (gradient @ [0.55, -0.55] + 0.65) / np.sqrt(1 + (gradient**2).sum(axis=1))
    shade = np.rint(24 * np.clip((light + 0.4) / 1.4, 0.0, 1.0)) / 24  # few colours, small pictures
    dark, pale = to_rgba_array(["#5C6B7A", "#FFFDF8"])
    return ink(dark + shade[:, None] * (pale - dark))


def _gradient(partition: Partition) -> np.ndarray:
    """The slope (F, 2) of one output, of the difference of two, or of the largest against the mean."""
    slopes = partition.slopes
    if slopes.shape[1] == 1:
        return slopes[:, 0]
    if slopes.shape[1] == 2:
        return slopes[:, 1] - slopes[:, 0]
    outputs = np.einsum("fok,fk->fo", slopes, partition.interior_points) + partition.offsets
    return slopes[np.arange(len(slopes)), outputs.argmax(axis=1)] - slopes.mean(axis=1)


def _deepest_layer(partition: Partition) -> np.ndarray:
    """The deepest layer with a line on the rim of each region; 0 where there is none."""
    deepest = np.zeros(partition.n_regions, dtype=int)
    for face in partition.edge_faces.T:
        np.maximum.at(deepest, face[face >= 0], partition.edge_neuron[face >= 0, 0])
    return deepest


def ink(colours: object) -> np.ndarray:
    """Colours as matplotlib knows them, each packed into the four bytes of a uint32."""
    return (255 * to_rgba_array(colours)).round().astype(np.uint8).view(np.uint32)[:, 0]


def _pale(colours: Sequence[str], strength: float | np.ndarray) -> np.ndarray:
    """Colours mixed into white."""
    return ink(1 - strength * (1 - to_rgba_array(colours)[:, :3]))


# ---- drawing -----------------------------------------------------------------------------------------------


def along(segments: np.ndarray) -> np.ndarray:
    """The pixels (M, 2) under segments (S, 2, 2) in pixel coordinates, one a row or column."""
    a, b = segments[:, 0], segments[:, 1]
    n = np.ceil(np.abs(b - a).max(axis=1, initial=0.0)).astype(int)
    which, count = _repeat(n + 1)
    t = count / np.maximum(n, 1)[which]
    return np.rint(a[which] + t[:, None] * (b - a)[which]).astype(int)


def stamp(canvas: np.ndarray, at: np.ndarray, brush: np.ndarray, colour: str) -> None:
    """Print the brush, offsets (K, 2), around every pixel (M, 2) of the canvas, as far as it goes."""
    x, y = (at[:, None] + brush).reshape(-1, 2).T
    inside = (x >= 0) & (x < canvas.shape[1]) & (y >= 0) & (y < canvas.shape[0])
    canvas[y[inside], x[inside]] = ink([colour])[0]


def square(width: int) -> np.ndarray:
    """A square brush."""
    side = np.arange(width) - (width - 1) // 2
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


def disc(radius: float) -> np.ndarray:
    """A round brush."""
    offsets = square(2 * int(radius) + 1)
    return offsets[(offsets**2).sum(axis=1) <= radius**2]

"""The figures of the lessons: one palette, region maps, curves over seeds, maps of numbers.

Colour is never the only sign. Curves also differ in line style and marker, classes in marker, layers in
lightness and line width, so that every figure can be read by the colour-blind and in grey. Figures keep their
white panel on a dark page.
"""

from minigrok.course._palette import LAYER_COLOURS, LAYER_WIDTHS, MARKERS, PALETTE
from minigrok.course.plots._curves import against, curves, line_on_band, ridges, sandwich, triangle
from minigrok.course.plots._pictures import answers_image, bars_image, pictures, ring_image, side_by_side
from minigrok.course.plots._regions import followed, heat, region_image, regions, rooms, walk
from minigrok.course.plots._rows import dots, intervals, waits
from minigrok.course.plots._style import LINESTYLES, use_style
from minigrok.course.plots._tables import pattern_strips, phases, scores, table

__all__ = [
    "LAYER_COLOURS",
    "LAYER_WIDTHS",
    "LINESTYLES",
    "MARKERS",
    "PALETTE",
    "against",
    "answers_image",
    "bars_image",
    "curves",
    "dots",
    "followed",
    "heat",
    "intervals",
    "line_on_band",
    "pattern_strips",
    "phases",
    "pictures",
    "region_image",
    "regions",
    "ridges",
    "ring_image",
    "rooms",
    "sandwich",
    "scores",
    "side_by_side",
    "table",
    "triangle",
    "use_style",
    "waits",
    "walk",
]

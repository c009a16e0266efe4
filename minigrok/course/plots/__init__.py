"""The figures of the lessons: one palette, region maps, curves over seeds, maps of numbers.

Colour is never the only sign. Curves also differ in line style and marker, classes in marker, layers in
lightness and line width, so that every figure can be read by the colour-blind and in grey. Figures keep their
white panel on a dark page.
"""

from minigrok.course._palette import LAYER_COLOURS as LAYER_COLOURS
from minigrok.course._palette import LAYER_WIDTHS as LAYER_WIDTHS
from minigrok.course._palette import MARKERS as MARKERS
from minigrok.course._palette import PALETTE as PALETTE
from minigrok.course.plots._curves import against as against
from minigrok.course.plots._curves import curves as curves
from minigrok.course.plots._curves import line_on_band as line_on_band
from minigrok.course.plots._curves import ridges as ridges
from minigrok.course.plots._curves import sandwich as sandwich
from minigrok.course.plots._curves import triangle as triangle
from minigrok.course.plots._pictures import answers_image as answers_image
from minigrok.course.plots._pictures import bars_image as bars_image
from minigrok.course.plots._pictures import pictures as pictures
from minigrok.course.plots._pictures import ring_image as ring_image
from minigrok.course.plots._pictures import side_by_side as side_by_side
from minigrok.course.plots._regions import followed as followed
from minigrok.course.plots._regions import heat as heat
from minigrok.course.plots._regions import region_image as region_image
from minigrok.course.plots._regions import regions as regions
from minigrok.course.plots._regions import rooms as rooms
from minigrok.course.plots._regions import walk as walk
from minigrok.course.plots._rows import dots as dots
from minigrok.course.plots._rows import intervals as intervals
from minigrok.course.plots._rows import waits as waits
from minigrok.course.plots._style import LINESTYLES as LINESTYLES
from minigrok.course.plots._style import use_style as use_style
from minigrok.course.plots._tables import pattern_strips as pattern_strips
from minigrok.course.plots._tables import phases as phases
from minigrok.course.plots._tables import scores as scores
from minigrok.course.plots._tables import table as table

"""Linear regions: exact partitions of planes and segments, and their local density in any dimension."""

from minigrok.regions._complexity import LocalComplexity as LocalComplexity
from minigrok.regions._complexity import local_complexity as local_complexity
from minigrok.regions._grid import bending_on_grid as bending_on_grid
from minigrok.regions._lines import lines_by_distance as lines_by_distance
from minigrok.regions._lines import unit_states as unit_states
from minigrok.regions._partition import Partition as Partition
from minigrok.regions._partition import Plane as Plane
from minigrok.regions._partition import partition as partition
from minigrok.regions._segment import Segment as Segment
from minigrok.regions._segment import on_segment as on_segment

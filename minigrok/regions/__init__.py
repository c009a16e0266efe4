"""Linear regions: exact partitions of planes and segments, and their local density in any dimension."""

from minigrok.regions._complexity import LocalComplexity, local_complexity
from minigrok.regions._grid import bending_on_grid
from minigrok.regions._lines import lines_by_distance, unit_states
from minigrok.regions._partition import Partition, Plane, partition
from minigrok.regions._segment import Segment, on_segment

__all__ = [
    "LocalComplexity",
    "Partition",
    "Plane",
    "Segment",
    "bending_on_grid",
    "lines_by_distance",
    "local_complexity",
    "on_segment",
    "partition",
    "unit_states",
]

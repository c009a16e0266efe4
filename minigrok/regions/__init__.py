"""Linear regions: exact partitions of planes and segments, and their local density in any dimension."""

from minigrok.regions._partition import Partition as Partition
from minigrok.regions._partition import Plane as Plane
from minigrok.regions._partition import partition as partition

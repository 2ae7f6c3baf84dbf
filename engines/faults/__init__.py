"""Camera faults made to order: what a broken, dirty or stuck camera does to pictures that were all right.

``table.py`` lists the 36 modes. A frame fault turns one picture into another; a clip fault turns a sequence into
another; a bitstream fault damages real encoded packets. Severity goes from 1 (just visible) to 5 (nothing left of use).
Two can act at once, as ``mud+noise``. Sizes are relative to the picture, randomness comes from the seed, no picture is
changed in place.
"""

from engines.faults.augment import KEEPS_SCENE, random_fault
from engines.faults.glass import covered_share
from engines.faults.inject import apply, inject, inject_timed
from engines.faults.mixture import faults_of, pairs, severities_of
from engines.faults.table import FAULTS, FaultMode
from engines.faults.timing import Timed

__all__ = [
    "FAULTS",
    "KEEPS_SCENE",
    "FaultMode",
    "Timed",
    "apply",
    "covered_share",
    "faults_of",
    "inject",
    "inject_timed",
    "pairs",
    "random_fault",
    "severities_of",
]

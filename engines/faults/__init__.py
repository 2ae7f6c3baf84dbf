"""Camera faults made to order: what a broken, dirty or stuck camera does to pictures that were all right.

``table.py`` lists the 36 modes. A frame fault turns one picture into another; a clip fault turns a sequence into
another; a bitstream fault damages real encoded packets. Severity goes from 1 (just visible) to 5 (nothing left of use).
Sizes are relative to the picture, randomness comes from the seed, no picture is changed in place.
"""

from engines.faults.glass import covered_share
from engines.faults.inject import apply, inject, inject_timed
from engines.faults.table import FAULTS, FaultMode
from engines.faults.timing import Timed

__all__ = ["FAULTS", "FaultMode", "Timed", "apply", "covered_share", "inject", "inject_timed"]

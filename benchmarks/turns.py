"""What ``bench_anomalib.py`` and its worker, in another environment, measure alike."""

from __future__ import annotations

import time
from collections.abc import Callable

BY_OPENCV = ", by OpenCV"
"""What the names of runs end in whose pictures OpenCV reduced before."""


def turn(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Call once, then over and over for so many seconds; what a call took, on the clock and of processor time, at the
    mean."""
    call()
    calls, began_s, began_cpu_s = 0, time.perf_counter(), time.process_time()
    while not calls or time.perf_counter() - began_s < seconds:
        call()
        calls += 1
    return (time.perf_counter() - began_s) / calls, (time.process_time() - began_cpu_s) / calls

"""Two faults at once, written ``mud+noise``: the first happens, and the second to what the first has left."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from engines.errors import InputError
from engines.faults.table import FAULTS, FaultMode

_HELD = frozenset({"freeze", "reencoded_freeze"})
_STALE = _HELD | {"partial_freeze", "loop"}
_GREY = frozenset({"monochrome", "no_demosaic"})
_CLASHES = (
    (_STALE, _STALE, "what stands still cannot come to a standstill once more"),
    ({"exposure_oscillation", "vibration", "condensation"}, _HELD, "a change over time does not show in a held picture"),
    ({"colour_cast", "channel_swap"} | _GREY, _GREY, "nothing of the first is left in grey"),
    (_GREY, {"channel_swap"}, "grey has no channels to swap"),
    ({"white"}, {"under_exposed"}, "one undoes the other"),
    ({"under_exposed"}, {"white"}, "one undoes the other"),
)  # fmt: skip
"""(first, second, why they cannot be seen together in this order)"""


def faults_of(mode: str, severity: int) -> tuple[FaultMode, ...]:
    """Return the fault that ``mode`` names, or the two of a pair in the order in which they act.

    Raises InputError for an unknown mode, a severity outside 1..5, and for pairs of which one would hide the other.
    """
    where = f"fault {mode}"
    names = mode.split("+")
    unknown = next((name for name in names if name not in FAULTS), None)
    if unknown is not None:
        pair = f" in {mode}" if len(names) > 1 else ""
        raise InputError(
            f"fault {unknown or repr('')}{pair}",
            f"must be one of {', '.join(FAULTS)}",
            "or two, as mud+noise",
        )
    if len(names) > 2:
        raise InputError(where, f"must be one mode or two, not {len(names)}")
    if severity not in range(1, 6):
        raise InputError(where, f"severity must be 1, 2, 3, 4 or 5, not {severity}")
    faults = tuple(FAULTS[name] for name in names)
    reason = _clash(faults, severity)
    if reason:
        raise InputError(where, f"must be two modes that can both be seen: {reason}", "choose another pair")
    return faults


def severities_of(mode: str) -> tuple[int, ...]:
    """Return the severities at which ``mode`` can be seen: all of one mode, fewer of some pairs.

    Raises InputError where there is none.
    """
    faults = faults_of(mode, 1)
    return tuple(severity for severity in range(1, 6) if not _clash(faults, severity))


def _clash(faults: Sequence[FaultMode], severity: int) -> str:
    """Return why two faults cannot be seen together in this order; empty where they can, or for one."""
    if len(faults) == 1:
        return ""
    first, second = faults
    if first is second:
        return "they are the same"
    for fault in (first, second):
        if severity >= fault.blank_from:
            milder = f" at severity {severity}" if fault.blank_from > 1 else ""
            return f"{fault.mode}{milder} leaves nothing of the other"
    return next((why for one, two, why in _CLASHES if first.mode in one and second.mode in two), "")


def pairs(severity: int) -> tuple[str, ...]:
    """Return every pair of modes that can be seen together at a severity, as ``first+second``."""
    return tuple(
        f"{pair[0].mode}+{pair[1].mode}"
        for pair in itertools.permutations(FAULTS.values(), 2)
        if not _clash(pair, severity)
    )

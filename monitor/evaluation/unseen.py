"""The bundle as each drive must meet it: never taught on the drive itself, nor on its group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from engines.bundle import Bundle
from engines.errors import CalibrationError
from engines.leave_out import rescored, without
from engines.scores import Scores
from monitor.evaluation.cases import Case

LeftOut = frozenset[int]
"""Numbers of drives in ``manifest.known``: taught, other, those of the camera it was moved to."""

VARIANTS = 32
"""Variants of the bundle kept at once; each holds its own support points, a megabyte or so."""


class Unseen:
    """The bundle without what a drive must not vouch for."""

    def __init__(self, bundle: Bundle, cases: Iterable[Case]) -> None:
        self._whole = bundle
        taught = bundle.manifest.known
        self.names = tuple(drive.name for drive in taught)
        numbers = {drive.fingerprint: number for number, drive in enumerate(taught)}
        groups: dict[str, set[int]] = defaultdict(set)
        for case in cases:
            if case.fingerprint in numbers:
                groups[case.group].add(numbers[case.fingerprint])
        self._groups = {group: frozenset(indices) for group, indices in groups.items()}
        self._variant = lru_cache(maxsize=VARIANTS)(lambda left_out: without(bundle, left_out))

    def left_out(self, *cases: Case) -> LeftOut:
        """The taught drives that must not vouch for any of the cases."""
        return frozenset().union(*(self._groups.get(case.group, frozenset()) for case in cases))

    def refusal(self, *cases: Case) -> str:
        """Why the bundle cannot be had without these cases; empty where it can."""
        try:
            self.bundle(self.left_out(*cases))
        except CalibrationError as error:
            return error.problem
        return ""

    def bundle(self, left_out: LeftOut) -> Bundle:
        """The bundle with density and calibration as though the drives ``left_out`` had not been taught."""
        return self._variant(left_out) if left_out else self._whole

    def scores(self, scores: Scores, left_out: LeftOut) -> Scores:
        """An engine's scores, as they would be without the drives ``left_out``."""
        return rescored(scores, self.bundle(left_out).density) if left_out else scores

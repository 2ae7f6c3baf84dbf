"""The bundle as each drive must meet it: never taught on the drive itself, nor on its group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from engines.bundle import Bundle
from engines.leave_out import rescored, without
from engines.scores import Scores
from monitor.evaluation.cases import Case

LeftOut = frozenset[int]


class Unseen:
    """The bundle without what a drive must not vouch for; each such variant is made once."""

    def __init__(self, bundle: Bundle, cases: Iterable[Case]) -> None:
        self._whole = bundle
        self._variants: dict[LeftOut, Bundle] = {frozenset(): bundle}
        taught = {drive.fingerprint: index for index, drive in enumerate(bundle.manifest.drives)}
        groups: dict[str, set[int]] = defaultdict(set)
        for case in cases:
            if case.fingerprint in taught:
                groups[case.group].add(taught[case.fingerprint])
        self._groups = {group: frozenset(indices) for group, indices in groups.items()}

    def left_out(self, *cases: Case) -> LeftOut:
        """Indices of the taught drives that must not vouch for any of the cases."""
        return frozenset().union(*(self._groups.get(case.group, frozenset()) for case in cases))

    def bundle(self, left_out: LeftOut) -> Bundle:
        """The bundle with density and calibration as though the drives ``left_out`` had not been taught."""
        if left_out not in self._variants:
            self._variants[left_out] = without(self._whole, left_out)
        return self._variants[left_out]

    def scores(self, scores: Scores, left_out: LeftOut) -> Scores:
        """An engine's scores, as they would be without the drives ``left_out``."""
        return rescored(scores, self.bundle(left_out).density) if left_out else scores

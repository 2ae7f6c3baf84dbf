"""How detection is judged: who teaches, who is tested, and what is said of the scores. Numpy alone.

A protocol turns a suite of clips into folds: what may be taught as normal, what else may be known (a
*background* of drives that are not normal), which clips are tested. A method is any function from what a fold
may know to a scorer; the protocols know neither encoders nor densities. Splits are by drive, and for an
unseen camera by rig: a drive never vouches for another one of its own camera.

Everything averages over *drives*: frames of one drive are near-duplicates, so intervals resample drives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.density import Floats
from engines.metrics import auroc, between

NORMAL, OTHER = "highway", "other"
OTHER_FOLDS = 6
"""Groups of rigs in which the other drives of protocol B are left out: a fit for every pair of drives would
take hours and say the same."""
GUARD_S = 1.0
"""Between the taught and the tested part of one drive."""
FEWEST_FRAMES = 10
"""A drive of fewer is too short to be onboarded by its first half."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One recording through an encoder, and who it is.

    drive: the group that may not be split. rig: the camera it was made with. label: NORMAL, OTHER or a defect.
    ship: whether weights that ship may be trained on it. late: N × C × h × w (or N × C) features of the
    frames. early: N × E statistics (E may be 0). times_s: N, media seconds, ascending."""

    drive: str
    rig: str
    label: str
    ship: bool
    late: NDArray[np.float32]
    early: NDArray[np.float32]
    times_s: Floats

    def __len__(self) -> int:
        return len(self.late)

    def part(self, keep: NDArray[np.bool_]) -> Clip:
        """The frames that ``keep`` marks."""
        return replace(self, late=self.late[keep], early=self.early[keep], times_s=self.times_s[keep])


Scorer: TypeAlias = Callable[[Clip], Floats]
"""A clip of N frames -> N scores, higher is stranger."""

Method: TypeAlias = Callable[[Sequence[Clip], Sequence[Clip]], Scorer]
"""(normal clips, background clips) -> what it learnt from them. The background is never tested."""


Learn: TypeAlias = Callable[[Sequence[Clip], Sequence[Clip]], Mapping[str, Scorer]]
"""The same for several methods at once, by name, which may share what is costly."""


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """normal and background may be learnt from; tested_normal against tested_other is what is asked."""

    normal: tuple[Clip, ...]
    background: tuple[Clip, ...]
    tested_normal: tuple[Clip, ...]
    tested_other: tuple[Clip, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """AUROC of every tested pair of a protocol.

    pairs: (normal drive, other drive) -> AUROC of that drive's frames against the other's.
    """

    pairs: dict[tuple[str, str], float]

    @property
    def per_drive(self) -> dict[str, float]:
        """Mean AUROC of each normal drive over the other drives."""
        return {d: float(np.mean([v for (n, _), v in self.pairs.items() if n == d])) for d in self.drives}

    @property
    def drives(self) -> list[str]:
        return sorted({normal for normal, _ in self.pairs})

    @property
    def auroc(self) -> float:
        """Mean over the normal drives."""
        return float(np.mean(list(self.per_drive.values())))

    @property
    def worst(self) -> tuple[str, float]:
        """The normal drive that is told apart least."""
        return min(self.per_drive.items(), key=lambda item: item[1])

    def interval(self, level: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
        """Bootstrap interval of the mean over both kinds of drive (percentiles of ``draws`` resamples)."""
        normals, others = self.drives, sorted({other for _, other in self.pairs})
        table = np.full((len(normals), len(others)), np.nan)
        for (normal, other), value in self.pairs.items():
            table[normals.index(normal), others.index(other)] = value
        random = np.random.default_rng(seed)
        means = []
        for _ in range(draws):
            rows = random.integers(len(normals), size=len(normals))
            columns = random.integers(len(others), size=len(others))
            drawn = table[np.ix_(rows, columns)]
            if not np.isnan(drawn).all():
                means.append(np.nanmean(drawn))
        low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
        return float(low), float(high)


def same_rig(clips: Sequence[Clip], rig: str = "idd", *, other_taught: bool = False) -> Iterator[Fold]:
    """A: one rig, unseen drives. Leave one normal drive out, teach on the rig's others, test against its other
    drives; ``other_taught`` puts half of the other drives into the background and tests the other half."""
    mine = [c for c in clips if c.rig == rig]
    others = [c for c in mine if c.label == OTHER]
    halves: list[tuple[tuple[Clip, ...], tuple[Clip, ...]]] = [((), tuple(others))]
    if other_taught:
        halves = [(tuple(others[0::2]), tuple(others[1::2])), (tuple(others[1::2]), tuple(others[0::2]))]
    for drive in _drives(c for c in mine if c.label == NORMAL):
        taught = tuple(c for c in mine if c.label == NORMAL and c.drive != drive)
        for background, tested in halves:
            yield Fold(taught, background, tuple(c for c in mine if c.drive == drive), tested)


def unseen_camera(clips: Sequence[Clip], big_rig: str = "idd", folds: int = OTHER_FOLDS) -> Iterator[Fold]:
    """B: leave one highway camera out, and in turn a group of other cameras; neither is in any fit.

    ``big_rig``, of which there are many drives of a few stills, counts as one drive and is not tested as other."""
    clips = [replace(c, drive=big_rig) if c.rig == big_rig and c.label == NORMAL else c for c in clips]
    rigs = sorted({c.rig for c in clips if c.label == OTHER and c.rig != big_rig})
    groups = [rigs[i::folds] for i in range(min(folds, len(rigs)))]
    for drive in _drives(c for c in clips if c.label == NORMAL):
        tested = tuple(c for c in clips if c.label == NORMAL and c.drive == drive)
        for group in groups:
            unseen = {tested[0].rig, *group}
            known = [c for c in clips if c.rig not in unseen]
            yield Fold(
                tuple(c for c in known if c.label == NORMAL),
                tuple(c for c in known if c.label == OTHER),
                tested,
                tuple(c for c in clips if c.label == OTHER and c.rig in group),
            )


def unseen_rig(clips: Sequence[Clip], rig: str = "idd") -> Iterator[Fold]:
    """B': teach on every other camera, test the normal drives of one rig against its other drives."""
    known, mine = [c for c in clips if c.rig != rig], [c for c in clips if c.rig == rig]
    yield Fold(
        tuple(c for c in known if c.label == NORMAL),
        tuple(c for c in known if c.label == OTHER),
        tuple(c for c in mine if c.label == NORMAL),
        tuple(c for c in mine if c.label == OTHER),
    )


def onboarded(clips: Sequence[Clip], *, with_cameras: bool = False) -> Iterator[Fold]:
    """C: teach the first half of a drive, test its second half (GUARD_S apart) against all other drives.

    ``with_cameras`` teaches the other cameras' highways too: that must not make this one worse. Drives of
    stills have no halves and are not tested. The background stays empty: what ships with an encoder is the
    method's."""
    others = tuple(c for c in clips if c.label == OTHER)
    for clip in clips:
        middle = (clip.times_s[0] + clip.times_s[-1]) / 2.0
        first, second = clip.times_s < middle, clip.times_s >= middle + GUARD_S
        if clip.label != NORMAL or min(first.sum(), second.sum()) < FEWEST_FRAMES // 2:
            continue
        more = tuple(c for c in clips if c.label == NORMAL and c.rig != clip.rig) if with_cameras else ()
        yield Fold((clip.part(first), *more), (), (clip.part(second),), others)


def judge(folds: Iterable[Fold], learn: Learn, *, ewma_s: float = 0.0) -> dict[str, Outcome]:
    """Fit every fold and compare what is tested, method by method. Scores of one drive are joined, drives never.

    ``ewma_s``: time constant of a one-sided average along each clip before comparing, as the detector takes
    one; 0 judges single frames."""
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for fold in folds:
        for name, scorer in learn(fold.normal, fold.background).items():
            normal = scores_by_drive(fold.tested_normal, scorer, ewma_s)
            other = scores_by_drive(fold.tested_other, scorer, ewma_s)
            pairs = found.setdefault(name, {})
            for n, s in normal.items():
                for o, t in other.items():
                    pairs.setdefault((n, o), []).append(auroc(between(s, t)))
    return {
        name: Outcome({pair: float(np.mean(values)) for pair, values in pairs.items()})
        for name, pairs in found.items()
    }


def scores_by_drive(clips: Iterable[Clip], scorer: Scorer, ewma_s: float = 0.0) -> dict[str, Floats]:
    """What a scorer says of each drive, whose recordings are joined; averaged as ``judge`` does."""
    joined: dict[str, list[Floats]] = {}
    for clip in clips:
        joined.setdefault(clip.drive, []).append(ewma(scorer(clip), clip.times_s, ewma_s))
    return {drive: np.concatenate(parts) for drive, parts in joined.items()}


def _drives(clips: Iterable[Clip]) -> list[str]:
    return sorted({c.drive for c in clips})


def ewma(scores: Floats, times_s: Floats, constant_s: float) -> Floats:
    """One-sided exponential average along time, begun at the first score; unchanged where ``constant_s`` is 0."""
    if not constant_s:
        return scores
    averaged = scores.astype(np.float64)
    for i in range(1, len(averaged)):
        kept = np.exp(-(times_s[i] - times_s[i - 1]) / constant_s)
        averaged[i] = kept * averaged[i - 1] + (1.0 - kept) * averaged[i]
    return averaged

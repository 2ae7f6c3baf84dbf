"""Protocols on clips made by hand: who may vouch for whom, and figures that can be worked out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.density import Floats
from engines.errors import InputError
from training.manifest import read_manifest
from training.protocols import (
    NORMAL,
    OTHER,
    Clip,
    Fold,
    Outcome,
    Scorer,
    ewma,
    judge,
    onboarded,
    same_rig,
    unseen_camera,
    unseen_rig,
)
from training.thresholds import Decided, conformal_threshold, decide, defects


def clip(drive: str, label: str, rig: str | None = None, level: float = 0.0, frames: int = 20) -> Clip:
    late = np.full((frames, 1), level, np.float32) + np.linspace(0, 0.1, frames, dtype=np.float32)[:, None]
    return Clip(
        drive, rig or drive, label, False, late, np.zeros((frames, 0), np.float32), np.arange(frames) / 4
    )


SUITE = [
    *(clip(f"road{i}", NORMAL, level=i / 100) for i in range(4)),
    *(clip(f"town{i}", OTHER, rig=f"rig{i // 2}", level=5.0) for i in range(6)),
    *(clip(f"big_road{i}", NORMAL, "big") for i in range(3)),
    *(clip(f"big_town{i}", OTHER, "big", 5.0) for i in range(4)),
]


def by_level(normal: Sequence[Clip], background: Sequence[Clip]) -> Scorer:
    return lambda tested: tested.late[:, 0].astype(np.float64)


def both_ways(normal: Sequence[Clip], background: Sequence[Clip]) -> dict[str, Scorer]:
    score = by_level(normal, background)
    return {"level": score, "against": lambda tested: -score(tested)}


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        (list(same_rig(SUITE, "big")), 3),
        (list(same_rig(SUITE, "big", other_taught=True)), 6),
        (list(unseen_camera(SUITE, "big")), 15),
        (list(unseen_rig(SUITE, "big")), 1),
        (list(onboarded(SUITE)), 7),
    ],
    ids=["same rig", "same rig, other taught", "unseen camera", "unseen rig", "onboarded"],
)
def test_no_tested_drive_is_taught(folds: list[Fold], expected: int) -> None:
    assert len(folds) == expected
    for fold in folds:
        assert fold.tested_normal
        assert fold.tested_other
        tested = {id(c) for c in (*fold.tested_normal, *fold.tested_other)}
        assert not tested & {id(c) for c in (*fold.normal, *fold.background)}
        assert {c.label for c in fold.normal} == {NORMAL}


def test_an_unseen_camera_is_in_no_fit_under_any_name() -> None:
    for fold in unseen_camera(SUITE, "big"):
        tested = {c.rig for c in (*fold.tested_normal, *fold.tested_other)}
        assert not tested & {c.rig for c in (*fold.normal, *fold.background)}


def test_halves_of_a_drive_are_apart() -> None:
    fold = next(onboarded(SUITE))
    assert fold.tested_normal[0].times_s[0] - fold.normal[0].times_s[-1] >= 1.0
    assert len(list(onboarded([clip("stills", NORMAL, frames=5), *SUITE[4:6]]))) == 0


def test_figures_average_over_drives_and_name_the_worst() -> None:
    outcome = Outcome({("a", "x"): 1.0, ("a", "y"): 0.8, ("b", "x"): 0.5, ("b", "y"): 0.5})
    assert outcome.per_drive == {"a": pytest.approx(0.9), "b": 0.5}
    assert outcome.auroc == pytest.approx(0.7)
    assert outcome.worst == ("b", 0.5)
    low, high = outcome.interval()
    assert 0.5 <= low < 0.7 < high <= 1.0


def test_a_perfect_score_and_its_opposite() -> None:
    found = judge(unseen_camera(SUITE, "big"), both_ways)
    assert (found["level"].auroc, found["against"].auroc) == (1.0, 0.0)


def test_the_average_follows_time_not_frames() -> None:
    step: Floats = np.array([0.0, 1.0, 1.0])
    averaged = ewma(step, np.array([0.0, 0.5, 5.0]), 1.0)
    assert averaged == pytest.approx([0.0, 1 - np.exp(-0.5), 1 - np.exp(-5.0)])
    assert ewma(step, step, 0.0) is step


def test_a_conformal_threshold_never_promises_more_than_its_data() -> None:
    scores = np.arange(99.0)
    assert conformal_threshold(scores, 0.1) == 89.0
    assert conformal_threshold(scores, 0.01) == 98.0
    assert conformal_threshold(scores[:5], 0.01) == 4.0


def test_a_threshold_is_from_normal_drives_that_were_held_out() -> None:
    """The levels of roads differ by less than a frame's, those of towns are far above."""
    asked: list[tuple[set[str], set[str]]] = []

    def learn(normal: Sequence[Clip], background: Sequence[Clip]) -> dict[str, Scorer]:
        taught = {c.rig for c in normal}

        def score(tested: Clip) -> Floats:
            asked.append((taught, {tested.rig}))
            return by_level(normal, background)(tested)

        return {"level": score}

    found = decide(unseen_camera(SUITE, "big"), learn, 0.05)["level"]
    assert found.found == 1.0
    assert found.false < 0.2
    assert not any(taught & tested for taught, tested in asked)


@pytest.mark.parametrize(
    ("decided", "share", "f1"),
    [
        (Decided(1.0, 1.0), 0.5, 2 / 3),
        (Decided(1.0, 1.0), 0.89, 2 * 0.89 / 1.89),
        (Decided(0.0, 1.0), 0.1, 1.0),
        (Decided(0.0, 0.0), 0.5, 0.0),
    ],
    ids=["all of half", "all of most", "perfect", "nothing"],
)
def test_f1_depends_on_how_many_are_other(decided: Decided, share: float, f1: float) -> None:
    assert decided.f1(share) == pytest.approx(f1)


def test_defects_are_judged_at_a_threshold_from_normal_pictures() -> None:
    normal, good, broken = clip("n", NORMAL), clip("g", NORMAL), clip("d", "broken", level=1.0, frames=10)
    outcome = defects(normal, good, broken, by_level, level=0.05)
    assert (outcome.auroc, outcome.f1, outcome.best_f1) == (1.0, 1.0, 1.0)
    assert outcome.f1_all_positive == pytest.approx(2 * 10 / (10 + 10 + 20))


def test_a_manifest_names_drives_rigs_and_what_may_ship(tmp_path: Path) -> None:
    for folder in ("road", "fleet/one", "fleet/two"):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(3):
            cv2.imwrite(str(tmp_path / folder / f"{index}.png"), np.full((8, 12, 3), 40 * index, np.uint8))
    (tmp_path / "manifest.csv").write_text(
        "path,label,drive,split,ship\nroad,highway,udacity_x,train,yes\nfleet,other,-,val,no\n"
    )
    rows = read_manifest(tmp_path)
    assert [(r.drive, r.rig) for r in rows] == [
        ("udacity_x", "udacity"),
        ("fleet/other/one", "fleet"),
        ("fleet/other/two", "fleet"),
    ]
    assert [row.ship for row in rows] == [True, False, False]


def test_a_manifest_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label\n")
    with pytest.raises(InputError, match="must have the columns drive, split"):
        read_manifest(tmp_path)

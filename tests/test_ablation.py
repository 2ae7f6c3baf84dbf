"""The table of ideas, on clips made by hand: what may know what, and that choosing never sees what it reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engines.density import Floats
from training.ablation.cameras import among_many
from training.ablation.features import COLUMNS, ROWS, harmonised, weathered
from training.ablation.methods import fused, known, lda, pool, ratio, surprise, tilt, without_cameras
from training.ablation.outcomes import Setting, nested, outcomes, unshipped, with_weather
from training.ablation.page import rows
from training.protocols import NORMAL, OTHER, Clip, Fold, Outcome, unseen_camera

CHANNELS = 12


def suite(seed: int = 0, channels: int = CHANNELS) -> list[Clip]:
    """Roads and towns apart in one channel, cameras apart in others."""
    random = np.random.default_rng(seed)
    drives = [(f"road{i}", f"road{i}", NORMAL, 12) for i in range(5)]
    drives += [(f"town{i}", f"town{i}", OTHER, 12) for i in range(6)]
    drives += [(f"idd/road{i}", "idd", NORMAL, 5) for i in range(4)]
    drives += [(f"idd/town{i}", "idd", OTHER, 5) for i in range(4)]
    clips = []
    for number, (drive, rig, label, frames) in enumerate(drives):
        late = random.normal(size=(frames, channels, ROWS * COLUMNS + 1))
        late[:, 0] += -3.0 if label == NORMAL else 3.0
        late[:, 1:6] += random.normal(size=(1, 5, 1)) * 2.0
        empty = np.zeros((frames, 0), np.float32)
        ship = number in (0, 5)
        clips.append(Clip(drive, rig, label, ship, late.astype(np.float32), empty, np.arange(frames) / 4))
    return clips


def test_every_idea_tells_what_is_apart() -> None:
    found = outcomes(
        unseen_camera(pool(suite(), 0.0)),
        lambda k: {
            "surprise": surprise(k, 0, 2.0),
            "ratio": ratio(k, 4, 1.0),
            "lda": lda(k),
            "tilt": tilt(k, 4, 1.0),
            "cameras": without_cameras(k, 4, 1.0),
            "fused": fused(k, 4, 1.0),
        },
        Setting(),
    )
    assert len(found["lda"].pairs) == 6 * 6
    for name, outcome in found.items():
        assert outcome.auroc > (0.6 if name in ("surprise", "cameras") else 0.9), name


def test_layout_adds_features_that_are_rotated_where_they_are_many() -> None:
    clips = suite(channels=60)
    assert pool(clips, 0.0)[0].late.shape == (12, 60)
    rotated = pool(clips, 0.25)[0].late.shape[1]
    assert 100 < rotated <= 256
    assert pool(clips, 0.25, most=10**6)[0].late.shape == (12, 600)


def test_a_rig_of_stills_counts_as_one_drive() -> None:
    clips = pool([c for c in suite() if c.label == NORMAL], 0.0)
    learnt = known(clips, (), None)
    shares = {d: learnt.normal.weights[np.array(learnt.drives) == d].sum() for d in set(learnt.drives)}
    assert shares["idd"] == pytest.approx(1 / 6)


def test_choosing_never_sees_what_it_reports() -> None:
    """Candidates that are good on half of the drives by chance: chosen in hindsight they look it, nested they do not."""
    random = np.random.default_rng(1)

    def chance() -> Outcome:
        return Outcome({(f"n{i}", f"o{j}"): float(random.uniform()) for i in range(8) for j in range(8)})

    candidates = {f"{i}": chance() for i in range(30)}
    in_hindsight = max(o.auroc for o in candidates.values())
    mean, worst, chosen = nested(candidates)
    assert in_hindsight > 0.54
    assert mean == pytest.approx(0.5, abs=0.04)
    assert worst < mean
    assert sum(chosen.values()) == 200


def test_a_camera_of_what_ships_is_not_tested() -> None:
    """Not even by a recording that does not ship itself."""
    clips = [replace(c, rig="road0") if c.drive == "road1" else c for c in suite()]
    tested = [c for f in unshipped(unseen_camera(clips), clips) for c in (*f.tested_normal, *f.tested_other)]
    assert {c.drive for c in tested} & {"road2", "town1"}
    assert not {c.drive for c in tested} & {"road0", "road1", "town0"}


def test_a_camera_asked_by_its_name_is_as_if_it_had_been_taught_alone() -> None:
    """A road that looks like another camera's town: all cameras together excuse that town, each by itself does not."""
    clips = [replace(c, times_s=4.0 * c.times_s) for c in pool(suite(), 0.0)]
    town = next(c for c in clips if c.drive == "town1")
    clips.append(replace(town, drive="road like a town", rig="road like a town", label=NORMAL))
    projection = known([c for c in clips if c.label == NORMAL], (), None).projection
    found = among_many(clips, Setting(projection))
    named, alone = found["the camera by its name"], found["taught alone"]
    assert named.pairs == pytest.approx(alone.pairs)
    together = found["one density of all cameras"].auroc
    assert together < found["the camera nearest to this camera's first frames, kept"].auroc <= alone.auroc
    assert len(found) == 6


def test_weather_is_taught_of_taught_drives_only() -> None:
    clips, marked = suite(), suite(1)
    for fold in with_weather(lambda: unseen_camera(clips), marked):
        added = [c for c in (*fold.normal, *fold.background) if any(c.late is m.late for m in marked)]
        assert added
        tested = {c.rig for c in (*fold.tested_normal, *fold.tested_other)}
        assert not tested & {c.rig for c in added}
        assert isinstance(fold, Fold)


@pytest.mark.parametrize("change", [harmonised, weathered], ids=["harmonised", "weathered"])
def test_changed_pictures_show_the_same_scene(change: object) -> None:
    assert callable(change)
    picture = np.zeros((448, 672, 3), np.uint8)
    picture[:224] = 200
    changed = change(picture, np.random.default_rng(0))
    top: Floats = changed[: len(changed) // 2].astype(np.float64)
    assert changed.dtype == np.uint8
    assert top.mean() > changed[len(changed) // 2 :].mean()


def test_a_line_of_the_table_gives_the_interval_and_the_worst_drive() -> None:
    found = {
        "B": {"idea": Outcome({("a", "x"): 1.0, ("b", "x"): 0.5})},
        "B'": {"idea": Outcome({("c", "x"): 0.75})},
    }
    (line,) = rows(found, "network: ")
    assert line == "| network: idea | 0.750 (0.50 to 1.00) | 0.50 b | 0.750 |  |"

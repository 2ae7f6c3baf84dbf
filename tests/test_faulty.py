"""Normal footage that is not: which part is faulty is said, and what is certain is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.bundle import open_bundle
from engines.errors import InputError
from engines.footage import find_drives
from engines.health import Health, Suspicion
from engines.health.fault import Fault
from engines.rendered import Segment, render, write_video
from training.calibrate_command import Footing, calibrate_bundle
from training.faulty import FaultySpans, Span
from training.fit_command import fit_command

FPS, SIZE = 10.0, (320, 180)


def write(path: Path, *script: Segment, seed: int = 51) -> Path:
    write_video(path, (image for _, _, image in render(script, seed, SIZE, FPS)), FPS)
    return path


def suspected(fault: Fault, *, certain: bool) -> Health:
    return Health({}, (Suspicion(fault, "x", 1.0, 0.5, "", 0.5, certain=certain),))


def test_spans_are_what_lasts() -> None:
    found = FaultySpans()
    script = [(0.0, 1.0, None), (1.0, 1.3, Fault.BLUR), (2.0, 4.0, Fault.BLUR), (4.0, 4.3, None), (4.3, 5.0, Fault.BLUR),
              (6.0, 7.0, Fault.BLACK)]  # fmt: skip
    believed = []
    for n in range(80):
        now = n / 10
        fault = next((f for begin, end, f in script if begin <= now < end), None)
        health = Health() if fault is None else suspected(fault, certain=fault == Fault.BLACK)
        believed += [now] if found.take(now, health) else []
    assert found.spans == (Span(Fault.BLUR, 2.0, 4.9, False), Span(Fault.BLACK, 6.0, 6.9, True))
    assert believed == [2.5, 6.5]
    assert found.notes == (
        "6.0-6.9 s: black; nothing was learnt from it",
        "2.0-4.9 s: blur; a check may err here, so it was not left out for that; if the camera was not sound, cut it out",
    )


def test_many_spans_are_summed_up() -> None:
    found = FaultySpans()
    for n in range(500):
        found.take(n / 10, suspected(Fault.BLACK, certain=True) if n % 100 < 20 else Health())
    assert len(found.spans) == 5
    (note,) = found.notes
    assert note.endswith("20.0-21.9 s: black and 2 more; nothing was learnt from it")


@pytest.fixture(scope="module")
def gap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drive of 40 s with a black part in it."""
    folder = tmp_path_factory.mktemp("gap")
    return write(
        folder / "gap.mp4",
        Segment("highway", 12.0),
        Segment("highway", 3.5, "black"),
        Segment("highway", 24.5),
    )


def test_a_black_part_of_normal_footage_is_named_and_not_learnt(
    gap: Path, rendered_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_command(normal=[rendered_bundle.parent / "drives", gap], out=tmp_path / "b")
    bundle, told = open_bundle(tmp_path / "b"), " ".join(capsys.readouterr().out.split())
    (note,) = (n for n in bundle.manifest.notes if "learnt from it" in n)
    assert note in told
    name, start_s, end_s = (
        note.partition("; ")[0].replace(" s: black", "").replace("-", " ").replace(":", "").split()
    )
    assert name == "gap"
    assert float(start_s) == pytest.approx(12.0, abs=0.2)
    assert float(end_s) == pytest.approx(15.4, abs=0.2)
    whole = next(d for d in bundle.manifest.drives if d.name == "gap")
    assert whole.frames == pytest.approx(400 - 35, abs=2)
    pictures, drives = bundle.normal_pictures()
    assert min(float(p.mean()) for p in pictures[drives == 6]) > 30


def test_calibrate_names_it_too(gap: Path, rendered_bundle: Path, tmp_path: Path) -> None:
    moved, _ = calibrate_bundle(
        tmp_path / "m", open_bundle(rendered_bundle), find_drives([gap]), Footing(rate=5.0)
    )
    assert any("s: black; nothing was learnt from it" in note for note in moved.manifest.notes)


def test_a_camera_that_was_black_from_the_first_frame_on_is_refused(
    rendered_bundle: Path, tmp_path: Path
) -> None:
    write(tmp_path / "dark.mp4", Segment("highway", 8.0, "black"), Segment("highway", 4.0))
    with pytest.raises(
        InputError, match=r"dark.mp4: must be the footage of a sound camera; 0.0-7.9 s: black"
    ):
        fit_command(normal=[rendered_bundle.parent / "drives", tmp_path / "dark.mp4"], out=tmp_path / "b")
    black = [np.zeros((180, 320, 3), np.uint8)] * 50
    write_video(tmp_path / "black.mp4", black, FPS)
    with pytest.raises(
        InputError, match=r"black.mp4: must be the footage of a sound camera; 0.0-4.9 s: black"
    ):
        fit_command(normal=[tmp_path / "black.mp4"], out=tmp_path / "b")
    assert not (tmp_path / "b").exists()

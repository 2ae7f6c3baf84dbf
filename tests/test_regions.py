"""Regions to ignore: what is none is refused by name, and what lies in one moves no score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.errors import ConfigError
from engines.footage import Recording, find_drives, rgb_frame
from engines.inpainting import Inpainting
from engines.regions import Regions, parse_regions, regions_from_text
from engines.rendered import Segment, render, write_video

BONNET = (0.0, 0.85, 1.0, 1.0)
WIPER = (0.1, 0.6, 0.9, 0.7, 0.9, 0.8, 0.1, 0.7)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        pytest.param((0, 0.5, 1), "got 3 numbers; for example", id="three-numbers"),
        pytest.param((), "got 0 numbers", id="nothing"),
        pytest.param((0, 0, 1, 0, 0.5), "got 5 numbers", id="odd"),
        pytest.param((0, 612, 1280, 720), "from 0 to 1, got 612; divide pixels", id="pixels"),
        pytest.param((-0.1, 0, 1, 1), "must lie in the picture.*got -0.1; correct it", id="left-of-it"),
        pytest.param((0, 0, float("nan"), 1), "got nan", id="nan"),
        pytest.param((0.5, 0, 0.5, 1), "left < right and top < bottom, got 0.5, 0, 0.5, 1", id="no-width"),
        pytest.param((0, 0.9, 1, 0.8), "top < bottom", id="upside-down"),
        pytest.param((0, 0, 1, 1, 1, 0, 0, 1), "must not cross itself", id="bow-tie"),
        pytest.param((0, 0, 0.5, 0.5, 1, 1), "must have an area, is empty", id="line"),
    ],
)
def test_what_is_no_region_is_refused_by_its_place(shape: tuple[float, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^camera\[0\]\.ignore\[1\]: .*{says}"):
        parse_regions("camera[0].ignore", [BONNET, shape])


@pytest.mark.parametrize(
    "shapes", [[(0, 0, 1, 1)], [(0, 0, 1, 0.5), (0, 0.45, 1, 1)], [(0, 0, 0, 1, 0.95, 1, 0.95, 0)]],
    ids=["all", "together", "nearly-all"],
)  # fmt: skip
def test_something_must_be_left_to_watch(shapes: list[tuple[float, ...]]) -> None:
    with pytest.raises(ConfigError, match=r"^ignore: must leave something to watch, covers (100|95) % of"):
        parse_regions("ignore", shapes)


def test_a_region_may_be_given_as_text() -> None:
    assert regions_from_text("--ignore", [" 0, 0.85,1,1"]) == Regions((BONNET,))
    with pytest.raises(
        ConfigError, match=r"--ignore\[0\]: must be numbers with commas between, got 'bonnet'"
    ):
        regions_from_text("--ignore", ["bonnet"])


@pytest.mark.parametrize(("height", "width"), [(96, 144), (720, 1280), (37, 53), (1, 1)])
@pytest.mark.parametrize("shape", [BONNET, (0.25, 0.5, 0.75, 1.0), (0.31, 0.02, 0.333, 0.61)])
def test_a_rectangles_mask_is_every_pixel_it_lies_in(
    height: int, width: int, shape: tuple[float, ...]
) -> None:
    left, top, right, bottom = shape
    edges_x, edges_y = np.arange(width) / width, np.arange(height) / height
    across = (edges_x + 1 / width > left + 1e-6) & (edges_x < right - 1e-6)
    down = (edges_y + 1 / height > top + 1e-6) & (edges_y < bottom - 1e-6)
    assert np.array_equal(parse_regions("x", [shape]).mask(height, width), down[:, None] & across)


def test_a_polygons_mask_holds_every_pixel_whose_middle_is_inside() -> None:
    mask = parse_regions("x", [WIPER]).mask(90, 160)
    y, x = (np.arange(90) + 0.5) / 90, (np.arange(160) + 0.5) / 160
    slope = 0.1 * (x - 0.1) / 0.8
    inside = (x > 0.1) & (x < 0.9) & (np.abs(y[:, None] - 0.65 - slope) < 0.049)
    assert mask[inside].all()
    assert mask.mean() == pytest.approx(0.08, abs=0.015)


def test_regions_join_without_repetition() -> None:
    bonnet, both = Regions((BONNET,)), Regions((BONNET, WIPER))
    assert bonnet.joined(both) == both
    assert not Regions()
    assert both.share == pytest.approx(0.15 + 0.08, abs=0.01)


@pytest.mark.parametrize("size", [(1280, 720), (320, 180), (100, 70)], ids=str)
@pytest.mark.parametrize("shape", [BONNET, WIPER, (0.55, 0.03, 0.97, 0.11)], ids=["bonnet", "wiper", "clock"])
def test_what_happens_in_a_region_moves_no_score(
    size: tuple[int, int], shape: tuple[float, ...], tmp_path: Path
) -> None:
    """Through the decoder's scaler and colours of half the size; without loss, since a lossy codec smears."""
    (_, _, scene), *_ = render((Segment("highway", 0.2),), 3, size, 10.0)
    regions = parse_regions("x", [shape])
    inside = regions.mask(size[1], size[0])
    noise = np.random.default_rng(0).integers(0, 256, scene.shape).astype(np.uint8)
    seen = []
    for name, content in {"plain": scene, "noise": noise, "white": np.full_like(scene, 255)}.items():
        picture = np.where(inside[:, :, None], content, scene)
        write_video(tmp_path / f"{name}.mkv", [picture, picture], 10.0, crf=0)
        frame = next(iter(Recording(find_drives([tmp_path / f"{name}.mkv"])[0], (96, 144))))
        seen.append((frame, Inpainting(regions).image(frame)))
    assert not np.array_equal(seen[0][0].image, seen[1][0].image)
    assert np.array_equal(seen[0][1], seen[1][1])
    assert np.array_equal(seen[0][1], seen[2][1])
    outside = ~regions.mask(96, 144)
    untouched = (seen[0][1] == seen[0][0].image).all(2) & outside
    assert untouched.sum() > 0.6 * outside.sum()


def test_a_filled_picture_holds_no_value_that_its_surroundings_lack() -> None:
    (_, _, scene), *_ = render((Segment("highway", 0.2),), 3, (320, 180), 10.0)
    frame = rgb_frame(scene, "x", 0, 0.0, (96, 144))
    filled = Inpainting(Regions((BONNET,))).image(frame)
    rest = frame.image[:80].reshape(-1, 3)
    assert (filled[82:].reshape(-1, 3) >= rest.min(0)).all()
    assert (filled[82:].reshape(-1, 3) <= rest.max(0)).all()
    assert Inpainting(Regions()).image(frame) is frame.image


def test_a_camera_that_changes_its_size_is_filled_anew() -> None:
    (_, _, scene), *_ = render((Segment("highway", 0.2),), 3, (320, 180), 10.0)
    frame = rgb_frame(scene, "x", 0, 0.0, (96, 144))
    small = replace(frame, luma=frame.luma[::4, ::4])
    fill = Inpainting(Regions((BONNET,)))
    assert np.array_equal(fill.image(frame), Inpainting(Regions((BONNET,))).image(frame))
    assert np.array_equal(fill.image(small), Inpainting(Regions((BONNET,))).image(small))
    assert not np.array_equal(fill.image(small), fill.image(frame))

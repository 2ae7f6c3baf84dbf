"""Where a heat map says a defect is, against what the masks say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.errors import InputError
from engines.frames import Image
from training.segmentation import Heat, localise

SIZE, PIXELS = (16, 16), 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Black pictures with white squares: two small ones, a large one, and two pictures without."""
    squares = {"small": [(8, 8, 8), (40, 24, 8)], "large": [(0, 32, 32)], "good": [None, None]}
    for kind, places in squares.items():
        (tmp_path / "test" / kind).mkdir(parents=True)
        (tmp_path / "ground_truth" / kind).mkdir(parents=True)
        for i, place in enumerate(places):
            image = np.zeros((PIXELS, PIXELS), np.uint8)
            if place is not None:
                top, left, side = place
                image[top : top + side, left : left + side] = 255
                cv2.imwrite(str(tmp_path / "ground_truth" / kind / f"{i:03d}_mask.png"), image)
            cv2.imwrite(str(tmp_path / "test" / kind / f"{i:03d}.png"), image)
    return tmp_path


def brightness(images: Image) -> NDArray[np.floating]:
    return images.mean(3)


def blind(images: Image) -> NDArray[np.floating]:
    return np.full((len(images), 4, 4), 0.5)


def noise(images: Image) -> NDArray[np.floating]:
    return np.random.default_rng(len(images)).random((len(images), PIXELS, PIXELS))


@pytest.mark.parametrize(
    ("heat", "auroc", "overlap"),
    [
        (brightness, 1.0, 1.0),
        (lambda images: -brightness(images), 0.0, 0.0),
        (blind, 0.5, 0.0),
        (noise, 0.5, 0.15),
    ],
    ids=["sees", "inverted", "blind", "noise"],
)
def test_figures_of_maps_that_are_known(heat: Heat, auroc: float, overlap: float, folder: Path) -> None:
    """A map of one value finds nothing at any threshold, so that its overlap is 0 and not chance."""
    found = localise(heat, SIZE, folder)
    assert found.auroc == pytest.approx(auroc, abs=0.03)
    assert found.region_overlap == pytest.approx(overlap, abs=0.05)
    assert set(found.defects) == {"large", "small"}
    assert found.pictures == 5


def test_small_defects_weigh_as_much_as_large_ones_in_the_overlap(folder: Path) -> None:
    """Only the large square is seen: most pixels are right, and two defects of three are missed."""

    def large(images: Image) -> NDArray[np.floating]:
        heat = brightness(images)
        heat[heat.mean((1, 2)) < 60] = 0.0
        return heat

    found = localise(large, SIZE, folder)
    assert found.auroc > 0.9
    assert found.region_overlap == pytest.approx(1 / 3, abs=0.02)
    assert found.defects["large"] == pytest.approx(1.0, abs=0.01)
    assert found.defects["small"] == pytest.approx(0.5, abs=0.01)


def test_two_squares_in_one_picture_are_two_defects(folder: Path) -> None:
    both = np.zeros((PIXELS, PIXELS), np.uint8)
    both[:4, :4] = both[20:52, 20:52] = 255
    for name in ("test/large/000.png", "ground_truth/large/000_mask.png"):
        cv2.imwrite(str(folder / name), both)

    def without_the_corner(images: Image) -> NDArray[np.floating]:
        heat = brightness(images)
        heat[:, :3, :3] = 0.0
        return heat

    whole, part = localise(brightness, SIZE, folder), localise(without_the_corner, SIZE, folder)
    assert whole.region_overlap - part.region_overlap == pytest.approx(1 / 4, abs=0.03)


def test_what_is_not_in_the_layout_is_refused(folder: Path) -> None:
    mask = folder / "ground_truth" / "small" / "001_mask.png"
    for content, says in (
        (np.zeros((PIXELS, PIXELS), np.uint8), "must mark a defect in 64 × 64 pixels, is empty"),
        (np.full((8, 9), 255, np.uint8), "must mark a defect in 64 × 64 pixels, is 8 × 9"),
    ):
        cv2.imwrite(str(mask), content)
        with pytest.raises(InputError, match=says):
            localise(brightness, SIZE, folder)
    mask.unlink()
    with pytest.raises(InputError, match=r"001_mask.png: must be the mask of 001.png; it cannot be read"):
        localise(brightness, SIZE, folder)
    with pytest.raises(InputError, match="does not exist"):
        localise(brightness, SIZE, folder / "test")
    for kind in ("small", "large"):
        for picture in (folder / "test" / kind).iterdir():
            picture.unlink()
        (folder / "test" / kind).rmdir()
    with pytest.raises(InputError, match="must hold a folder for each kind of defect, holds none"):
        localise(brightness, SIZE, folder)

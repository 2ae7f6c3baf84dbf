"""From a decoder's planes to the model's picture: libav's scaler comes to the definition."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from engines.footage import to_frame
from engines.frames import Image
from engines.reduction import CENTRE, averaged, exactly, reduced_rgb, shares, to_rgb

SIZE = (48, 72)
SPACES = {
    "unstated": (Colorspace.ITU601, 2), "BT.601": (Colorspace.ITU601, 6), "BT.709": (Colorspace.ITU709, 1),
    "BT.2020": (Colorspace.BT2020, 9),
}  # fmt: skip
"""Libswscale's number, and the stream's own."""


def coloured(
    height: int, width: int, pixels: str, space: Colorspace, tag: int, span: ColorRange
) -> av.VideoFrame:
    """Smooth colours with noise on them, as a decoder would hand them out."""
    random = np.random.default_rng(height + width)
    smooth = cv2.resize(random.uniform(0, 255, (5, 7, 3)), (width, height), interpolation=cv2.INTER_LINEAR)
    noisy = np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
    whole = av.VideoFrame.from_ndarray(noisy, format="rgb24")
    picture = whole.reformat(format=pixels, dst_colorspace=space, dst_color_range=span)
    picture.colorspace = tag
    assert picture.color_range == span
    return picture


@pytest.mark.parametrize("span", [ColorRange.MPEG, ColorRange.JPEG], ids=["limited", "full"])
@pytest.mark.parametrize("space", list(SPACES))
@pytest.mark.parametrize(
    ("height", "width", "pixels"),
    [(360, 640, "yuv420p"), (271, 483, "yuv420p"), (360, 640, "nv12"), (360, 640, "yuv422p"), (96, 144, "yuv444p")],
)  # fmt: skip
def test_libav_comes_to_the_definition(
    height: int, width: int, pixels: str, space: str, span: ColorRange
) -> None:
    picture = coloured(height, width, pixels, *SPACES[space], span)
    by_libav = to_frame(picture, "cam", 0, 0.0, SIZE).image
    apart = by_libav.astype(int) - exactly(picture, SIZE)
    assert np.abs(apart).max() <= 1
    assert np.mean(apart != 0) < 0.02
    assert abs(apart.mean()) < 0.01


def test_a_plain_picture_keeps_its_colour() -> None:
    """Libswscale's plain area average darkens by 1.7 grey levels."""
    picture = av.VideoFrame(640, 360, "yuv420p")
    for plane, value in zip(picture.planes, (145, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    assert np.unique(to_frame(picture, "cam", 0, 0.0, SIZE).image).tolist() == [round((145 - 16) * 255 / 219)]


def test_shares_of_a_row_add_up_and_keep_its_order() -> None:
    for source, target, shift in ((1280, 144, 0.0), (615, 144, 0.25), (7, 7, 0.0), (5, 9, -0.25)):
        found = shares(source, target, shift)
        assert found.shape == (target, source)
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
        # A ramp stays a ramp; the shift moves it, but at its ends.
        places = found @ (np.arange(source) + 0.5)
        expected = (np.arange(target) + 0.5) * source / target + shift
        np.testing.assert_allclose(places[1:-1], expected[1:-1], atol=0.5 if source < target else 0.05)
        assert (np.diff(places) >= 0).all()


def test_averages_are_those_of_whole_blocks() -> None:
    plane: Image = np.random.default_rng(5).integers(0, 256, (60, 90)).astype(np.uint8)
    blocks = plane.reshape(6, 10, 9, 10).mean(axis=(1, 3))
    np.testing.assert_allclose(averaged(plane, (6, 9), CENTRE), blocks)


@pytest.mark.parametrize("span", [ColorRange.MPEG, ColorRange.JPEG], ids=["limited", "full"])
def test_grey_is_grey_and_white_is_white(span: ColorRange) -> None:
    black, white = (0, 255) if span == ColorRange.JPEG else (16, 235)
    for _, tag in SPACES.values():
        matrix, offset = to_rgb(tag, span)
        np.testing.assert_allclose(matrix @ [white, 128, 128] + offset, 255.0)
        np.testing.assert_allclose(matrix @ [black, 128, 128] + offset, 0.0, atol=1e-9)


@pytest.mark.parametrize("size", [(96, 144), (224, 336), (256, 256)])
@pytest.mark.parametrize(
    "shape", [(720, 1280), (1080, 1920), (375, 1242), (97, 145), (96, 144), (40, 60), (30000, 8)]
)
def test_an_image_comes_to_the_mean_of_its_areas(shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = np.random.default_rng(7).integers(0, 256, (*shape, 3), dtype=np.uint8)
    small = reduced_rgb(image, size)
    assert small.dtype == np.uint8
    if shape[0] >= size[0] and shape[1] >= size[1]:
        exact = np.stack([averaged(image[..., k], size) for k in range(3)], axis=-1)
        assert np.abs(small - exact).max() <= 0.501
    else:
        assert np.array_equal(small, cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA))

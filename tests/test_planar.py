"""The graph from a decoder's planes to the model's picture, and from there to scores, on ONNX Runtime's processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import onnxruntime
import pytest
from av.video.reformatter import ColorRange

from engines.backends.onnx_cuda import HOST, OnnxCudaEngine
from engines.bundle import open_bundle
from engines.footage import to_frame
from engines.frames import Image
from engines.planar import layout_of, planar
from engines.reduction import CENTRE, LEFT, TOP_LEFT, Siting, exactly, siting
from engines.rendered import Segment

SIZE = (96, 144)
DRIVING = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "driving" / "highway"
TAUGHT = (
    "us_parkway_winter",
    "udacity_project_a",
    "taiwan_a",
    "korea_overcast",
    "california_dense",
    "night_rain_lit",
)


@pytest.fixture(scope="module")
def clip(rendered_clip: Callable[..., Path]) -> Path:
    return rendered_clip((Segment("highway", 1.0),), 7, (482, 270))


def noise(height: int, width: int, pixels: str, span: ColorRange = ColorRange.MPEG) -> av.VideoFrame:
    random = np.random.default_rng(height)
    whole = av.VideoFrame.from_ndarray(random.integers(0, 256, (height, width, 3)).astype(np.uint8), "rgb24")
    return whole.reformat(format=pixels, dst_color_range=span)


def by_graph(picture: av.VideoFrame, lies: Siting) -> Image:
    layout = layout_of(picture)
    assert layout is not None
    session = onnxruntime.InferenceSession(planar(layout, SIZE, lies).SerializeToString())
    planes = [np.frombuffer(memoryview(plane), np.uint8) for plane in picture.planes]
    feed = {f"plane_{n}": plane.reshape(layout.shapes[n]) for n, plane in enumerate(planes)}
    (images,) = session.run(None, feed)
    assert images.shape == (1, *SIZE, 3)
    assert images.dtype == np.uint8
    return np.asarray(images[0])


def assert_near(one: Image, other: Image, share: float) -> None:
    """A level apart at the most, in ``share`` of the values at the most."""
    apart = np.abs(one.astype(int) - other)
    assert apart.max() <= 1
    assert np.mean(apart > 0) <= share


@pytest.mark.parametrize("lies", [CENTRE, LEFT, TOP_LEFT], ids=["centre", "left", "top left"])
@pytest.mark.parametrize(
    ("space", "span"), [(1, ColorRange.MPEG), (5, ColorRange.JPEG)], ids=["709", "601 full"]
)
@pytest.mark.parametrize("pixels", ["nv12", "yuv420p", "yuv444p"])
@pytest.mark.parametrize(("height", "width"), [(360, 640), (271, 483)], ids=["even", "odd"])
def test_the_graph_comes_to_the_definition(
    height: int, width: int, pixels: str, space: int, span: ColorRange, lies: Siting
) -> None:  # fmt: skip
    picture = noise(height, width, pixels, span)
    picture.colorspace = space
    layout = layout_of(picture)
    assert layout is not None
    assert pixels == "yuv444p" or width == 640 or layout.row_bytes[0] > width, "no padding to be ignored"
    assert_near(by_graph(picture, lies), exactly(picture, SIZE, lies), 1e-3)


def test_it_is_told_where_chroma_lies(clip: Path) -> None:
    """H.264 says nothing, which is left of the middle; a picture that is nobody's stream is in the middle."""
    with av.open(str(clip)) as container:
        decoded = next(container.decode(video=0))
    made = noise(270, 482, "yuv420p")
    assert siting(decoded, to_frame(decoded, "cam", 0, 0.0, (96, 144)).image) == LEFT
    assert siting(made, to_frame(made, "cam", 0, 0.0, (96, 144)).image) == CENTRE


def test_planes_that_no_graph_is_known_for_are_told() -> None:
    for pixels in ("yuv420p10le", "yuv422p", "rgb24", "gray"):
        assert layout_of(noise(90, 160, pixels)) is None


@pytest.mark.footage
@pytest.mark.skipif(not DRIVING.is_dir(), reason="the driving footage is not here (../shared/data/driving)")
@pytest.mark.parametrize("name", TAUGHT)
def test_real_frames_are_those_of_the_processor(name: str, rendered_bundle: Path) -> None:
    """Every half second of drives to teach from: pictures of the definition, nearly those of libav, and scores of a
    thousandth from theirs, on a bundle to which they are all strange."""
    by_libav, by_graphs = [], []
    with av.open(str(DRIVING / f"{name}.mp4")) as container:
        for index, picture in enumerate(container.decode(video=0)):
            if index % 15 == 0 and len(by_graphs) < 8:
                by_libav.append(to_frame(picture, name, index, 0.0, SIZE).image)
                lies = siting(picture, by_libav[-1])
                by_graphs.append(by_graph(picture.reformat(format="nv12"), lies))
                assert_near(by_graphs[-1], exactly(picture, SIZE, lies), 1e-3)
                assert_near(by_graphs[-1], by_libav[-1], 0.01)
    engine = OnnxCudaEngine(open_bundle(rendered_bundle).model_path, device=HOST)
    one, other = (engine.score(np.stack(images)).surprise for images in (by_graphs, by_libav))
    assert np.median(np.abs(one - other) / np.abs(other)) < 1e-3

"""Where video is decoded: the same frames wherever it is, and a plain word where it cannot be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from engines.decoding import ON_PROCESSOR, Decode, Decoding, decoding
from engines.errors import EngineError
from engines.footage import Recording, find_drives, to_frame
from engines.frames import Frame
from engines.rendered import Segment
from monitor.config import load_config
from monitor.run_command import choose_decoders

ROOT = Path(__file__).resolve().parent.parent
SIZE = (96, 144)


@pytest.fixture(scope="module")
def clip(rendered_clip: Callable[..., Path]) -> Path:
    return rendered_clip((Segment("highway", 2.0),), 5, (322, 182))


@pytest.fixture
def no_gpu() -> Decoding:
    """What ``auto`` settles on where no GPU can decode."""
    settled = decoding(Decode.AUTO)
    if settled.accelerator is not None:
        pytest.skip("this machine has a GPU that decodes")
    return settled


@pytest.fixture
def gpu() -> Decoding:
    settled = decoding(Decode.AUTO)
    if settled.accelerator is None:
        pytest.skip(f"needs a GPU that decodes: {settled.reason}")
    return decoding(Decode.CUDA)


def frames(clip: Path, where: Decoding) -> list[Frame]:
    recording = Recording(find_drives([clip])[0], SIZE, decoding=where)
    found = list(recording)
    assert recording.notes == []
    return found


def assert_same(left: Frame, right: Frame) -> None:
    np.testing.assert_array_equal(left.image, right.image)
    np.testing.assert_array_equal(left.luma, right.luma)
    assert left.chroma is not None
    assert right.chroma is not None
    for one, other in zip(left.chroma, right.chroma, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (left.time_s, left.key, left.damaged) == (right.time_s, right.key, right.damaged)


def test_the_processor_is_not_chosen_with_a_reason_unless_a_gpu_was_asked_for() -> None:
    assert decoding(Decode.CPU) is ON_PROCESSOR
    assert (ON_PROCESSOR.accelerator, ON_PROCESSOR.reason) == (None, "")


def test_auto_says_why_it_decodes_on_the_processor_and_gives_the_same_frames(
    no_gpu: Decoding, clip: Path
) -> None:
    assert no_gpu.reason.startswith("decoding on the processor: ")
    assert "\n" not in no_gpu.reason
    automatic, on_processor = frames(clip, no_gpu), frames(clip, ON_PROCESSOR)
    assert len(automatic) == 20
    for left, right in zip(automatic, on_processor, strict=True):
        assert_same(left, right)


def test_a_gpu_asked_for_and_not_there_is_one_line_before_any_work(no_gpu: Decoding, tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"decode cuda: must find a GPU that decodes, but .*; use auto or cpu"
    ):
        decoding(Decode.CUDA)
    command = [sys.executable, str(ROOT / "sightline.py"), "replay", "none.mp4", "--bundle", "none"]
    done = subprocess.run(
        [*command, "--decode", "cuda", "--scores", "scores.csv"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert "decode cuda" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_camera_that_must_be_decoded_on_a_gpu_is_named(no_gpu: Decoding, tmp_path: Path) -> None:
    config = tmp_path / "cameras.toml"
    cameras = (f'[[camera]]\nname = "{n}"\nurl = "usb:0"\ndecode = "{n}"\n' for n in ("cpu", "auto", "cuda"))
    config.write_text('journal = "j"\nbundle = "b"\n' + "".join(cameras))
    with pytest.raises(EngineError, match=r"cameras.toml: camera\[2\].decode: must find a GPU"):
        choose_decoders(config, load_config(config))


def test_the_layout_of_a_gpu_gives_the_frame_of_the_processors(clip: Path) -> None:
    """A GPU's decoder hands pictures out as nv12, whose chroma is interleaved; here of an odd number of samples a row."""
    with av.open(str(clip)) as container:
        for index, picture in enumerate(container.decode(video=0)):
            interleaved = picture.reformat(format="nv12")
            interleaved.key_frame = picture.key_frame
            assert (picture.format.name, interleaved.format.name) == ("yuv420p", "nv12")
            assert_same(
                to_frame(picture, "cam", index, 0.1 * index, SIZE),
                to_frame(interleaved, "cam", index, 0.1 * index, SIZE),
            )
    assert index == 19


def test_a_gpu_decodes_the_same_frames(gpu: Decoding, clip: Path) -> None:
    on_gpu, on_processor = frames(clip, gpu), frames(clip, ON_PROCESSOR)
    for left, right in zip(on_gpu, on_processor, strict=True):
        assert_same(left, right)

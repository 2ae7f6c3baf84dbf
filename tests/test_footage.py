"""Paths to drives to frames, and what may be wrong with files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engines.errors import InputError, masked
from engines.footage import Recording, find_drives, fingerprint, rgb_frame
from engines.planes import planes
from engines.rendered import write_video

SIZE = (48, 72)


def noise(count: int, height: int = 96, width: int = 160) -> list[np.ndarray]:
    random = np.random.default_rng(count)
    return [random.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(count)]


def video(path: Path, count: int = 30, fps: float = 10.0) -> Path:
    write_video(path, noise(count), fps)
    return path


def images(folder: Path, count: int, shape: tuple[int, int] = (60, 80)) -> Path:
    folder.mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"frame_{i}.png"), noise(1, *shape)[0])
    return folder


def read(path: Path, **options: float) -> tuple[list[float], Recording]:
    recording = Recording(find_drives([path])[0], SIZE, **options)
    return [f.time_s for f in recording], recording


def test_a_folder_of_folders_gives_one_drive_each(tmp_path: Path) -> None:
    (tmp_path / "day").mkdir()
    video(tmp_path / "day" / "a.mp4")
    images(tmp_path / "day" / "stills", 3)
    images(tmp_path / "night" / "stills", 2)
    found = find_drives([tmp_path])
    assert sorted((d.name, len(d.files)) for d in found) == [("a", 0), ("day/stills", 3), ("night/stills", 2)]
    assert len(find_drives([tmp_path, tmp_path / "day"])) == 3


def test_a_fingerprint_knows_footage_by_its_content(tmp_path: Path) -> None:
    first, copy = video(tmp_path / "a.mp4", 5), tmp_path / "copy.mp4"
    copy.write_bytes(first.read_bytes())
    stills = images(tmp_path / "stills", 3)
    marks = {d.name: fingerprint(d) for d in find_drives([first, copy, video(tmp_path / "b.mp4", 6), stills])}
    assert marks["a"] == marks["copy"]
    assert len(set(marks.values())) == 3
    stills.rename(tmp_path / "renamed")
    assert fingerprint(find_drives([tmp_path / "renamed"])[0]) == marks["stills"]
    (tmp_path / "renamed" / "frame_2.png").unlink()
    assert fingerprint(find_drives([tmp_path / "renamed"])[0]) != marks["stills"]


def test_a_fingerprint_of_what_is_gone_is_refused(tmp_path: Path) -> None:
    drive = find_drives([video(tmp_path / "a.mp4", 2)])[0]
    drive.path.unlink()
    with pytest.raises(InputError, match="must be a file that can be read"):
        fingerprint(drive)


def test_images_come_in_the_order_people_count(tmp_path: Path) -> None:
    drive = find_drives([images(tmp_path / "d", 12)])[0]
    assert [p.stem for p in drive.files] == [f"frame_{i}" for i in range(12)]


@pytest.mark.parametrize("fps", [10.0, 25.0, 30000 / 1001], ids=str)
def test_times_are_those_of_the_file(fps: float, tmp_path: Path) -> None:
    times, recording = read(video(tmp_path / "a.mp4", 30, fps))
    assert times == pytest.approx([i / fps for i in range(30)], abs=1e-4)
    assert recording.expected_frames == recording.frames == 30


def test_frames_have_the_sizes_promised(tmp_path: Path) -> None:
    frame = next(iter(Recording(find_drives([video(tmp_path / "a.mp4")])[0], SIZE)))
    assert (frame.image.shape, frame.image.dtype) == ((*SIZE, 3), np.uint8)
    assert (frame.luma.shape, frame.key) == ((96, 160), True)
    with pytest.raises(ValueError, match="read-only"):
        frame.luma[0, 0] = 1


def test_a_rate_keeps_the_first_frame_of_each_interval(tmp_path: Path) -> None:
    times, recording = read(video(tmp_path / "a.mp4", 30, 10.0), every_s=0.5)
    assert times == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5], abs=1e-3)
    assert recording.frames == 30


def test_one_frame_is_a_drive(tmp_path: Path) -> None:
    assert read(video(tmp_path / "a.mp4", 1))[0] == [0.0]


def test_a_truncated_video_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    times, _ = read(path)
    assert 5 < len(times) < 60
    assert times == sorted(set(times))


def test_a_broken_image_is_left_out_and_named(tmp_path: Path) -> None:
    folder = images(tmp_path / "d", 5)
    (folder / "frame_2.png").write_bytes(b"")
    (folder / "frame_3.png").write_bytes(b"no image")
    # A PNG whose header promises more pixels than OpenCV takes.
    size = struct.pack(">II5B", 100_000, 100_000, 8, 2, 0, 0, 0)
    head = struct.pack(">I4s", len(size), b"IHDR") + size + struct.pack(">I", zlib.crc32(b"IHDR" + size))
    (folder / "frame_4.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head)
    times, recording = read(folder)
    assert times == pytest.approx([0.0, 0.1])
    assert [note.split()[0] for note in recording.notes] == ["frame_2.png", "frame_3.png", "frame_4.png"]


def test_an_image_of_another_size_is_read(tmp_path: Path) -> None:
    folder = images(tmp_path / "d", 3)
    cv2.imwrite(str(folder / "frame_1.png"), noise(1, 31, 17)[0])
    shapes = [f.image.shape for f in Recording(find_drives([folder])[0], SIZE)]
    assert shapes == [(*SIZE, 3)] * 3


def audio(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate, sound.pts, sound.time_base = 44100, 0, Fraction(1, 44100)
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def all_broken(path: Path) -> None:
    images(path, 2)
    for file in path.iterdir():
        file.write_bytes(b"x")


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("missing.mp4", lambda path: None, "does not exist"),
        ("empty", lambda path: path.mkdir(), "none was found"),
        ("empty.mp4", lambda path: path.write_bytes(b""), "the file is empty"),
        ("text.mp4", lambda path: path.write_text("hello"), "must be a readable video"),
        ("sound.mp4", audio, "must hold a video stream"),
        ("broken", all_broken, "at least one readable frame"),
    ],
    ids=["missing", "empty folder", "empty file", "text", "sound", "broken images"],
)
def test_unusable_input_is_refused_in_one_line(
    name: str, make: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://user:pass@cam/1", "rtsp://***@cam/1"),
        ("rtsp://user:p@ss/word@cam/1 failed", "rtsp://***@cam/1 failed"),
        ("http://cam/?token=abc&x=1", "http://cam/?token=***&x=1"),
        ("no secret at all", "no secret at all"),
    ],
)
def test_credentials_are_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_planes_are_views_of_what_was_decoded(tmp_path: Path) -> None:
    red = np.zeros((96, 160, 3), np.uint8)
    red[..., 0] = 200
    path = tmp_path / "red.mp4"
    write_video(path, [red] * 3, 10.0)
    frame = next(iter(Recording(find_drives([path])[0], SIZE)))
    assert frame.chroma is not None
    blue_difference, red_difference = frame.chroma
    assert blue_difference.shape == red_difference.shape == (48, 80)
    assert blue_difference.mean() < 118 < 160 < red_difference.mean()
    with pytest.raises(ValueError, match="read-only"):
        red_difference[0, 0] = 1
    from_rgb = rgb_frame(red, "cam", 0, 0.0, SIZE)
    assert from_rgb.chroma is not None
    assert [p.shape for p in from_rgb.chroma] == [(48, 80)] * 2
    assert abs(float(from_rgb.chroma[1].mean()) - float(red_difference.mean())) < 20


@pytest.mark.parametrize("pixels", ["yuv422p", "yuv444p", "nv12", "rgb24", "yuv420p10le"])
def test_every_pixel_format_gives_eight_bit_planes(pixels: str) -> None:
    picture = av.VideoFrame.from_ndarray(noise(1, 32, 48)[0], format="rgb24").reformat(format=pixels)
    luma, chroma = planes(picture)
    assert luma.shape == (32, 48)
    assert chroma is not None
    assert {p.dtype for p in (luma, *chroma)} == {np.dtype(np.uint8)}


def test_a_grey_stream_has_no_chroma() -> None:
    assert planes(av.VideoFrame(48, 32, "gray"))[1] is None


def test_damaged_packets_are_passed_over_and_told(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 40)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    data = bytearray(path.read_bytes())
    for number in (5, 6):
        start, size = packets[number]
        for place in range(start + 60, start + size, 97):
            data[place] ^= 0x5A
    path.write_bytes(bytes(data))
    recording = Recording(find_drives([path])[0], SIZE)
    damaged = [frame.index for frame in recording if frame.damaged]
    assert recording.frames >= 38
    assert damaged
    assert set(damaged) <= set(range(3, 15))


@pytest.mark.parametrize("name", ["yuv420p10le", "yuv422p10le", "yuv444p12le", "p010le"])
@pytest.mark.parametrize("size", [(64, 48), (62, 46)])
def test_deep_pictures_are_rounded_to_eight_bits(name: str, size: tuple[int, int]) -> None:
    """libswscale dithers them, in a pattern that looked like a sensor's mosaic: a fault in every 10-bit stream."""
    picture = av.VideoFrame(*size, name)
    random, bits = np.random.default_rng(0), 12 if "12" in name else 10
    values = []
    for plane in picture.planes:
        words = np.frombuffer(plane, np.uint16)
        filled = random.integers(0, 1 << bits, words.size).astype(np.uint16)
        filled[:4] = (1 << bits) - 1
        words[:] = filled << (6 if name == "p010le" else 0)
        values.append(filled.reshape(plane.height, -1))
    luma, chroma = planes(picture)
    assert chroma is not None
    if name == "p010le":
        values = [values[0], values[1][:, 0::2], values[1][:, 1::2]]
    for found, full in zip((luma, *chroma), values, strict=True):
        wanted = np.minimum(np.floor(full / 2.0 ** (bits - 8) + 0.5), 255)
        np.testing.assert_array_equal(found, wanted[:, : found.shape[1]])
        assert not found.flags.writeable
    assert luma.shape == size[::-1]

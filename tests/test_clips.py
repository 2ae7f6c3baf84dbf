"""Clips hold the camera's own packets, begin at a key frame, and cover what was asked for or say that they don't."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engines.errors import InputError, OutputError
from engines.footage import find_drives
from monitor.evidence.clips import Clip, cut, suffix, write_clip
from monitor.evidence.packets import Coded, Coding, PacketRing, coded

FPS, SECONDS, SIZE = 10, 20, (160, 90)


def pictures(count: int) -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
    return [np.roll(cv2.blur(noise, (9, 9)), 2 * i, axis=1).astype(np.uint8) for i in range(count)]


def encode(path: Path, codec: str, key_every: int, **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = key_every
        for image in pictures(FPS * SECONDS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


CODINGS = {
    "h264-b-frames.mp4": ("libx264", 20, {"bf": "3", "sc_threshold": "0"}),
    "h264-open-gop.mkv": ("libx264", 20, {"bf": "3", "sc_threshold": "0", "x264-params": "open-gop=1"}),
    "h264.ts": ("libx264", 20, {"bf": "2", "sc_threshold": "0"}),
    "hevc.mp4": ("libx265", 20, {"x265-params": "log-level=none:scenecut=0"}),
    "mjpeg.avi": ("mjpeg", 1, {}),
    "mpeg4.mkv": ("mpeg4", 20, {}),
    "vp8.mkv": ("libvpx", 20, {"deadline": "realtime", "cpu-used": "8"}),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("recorded")

    def made(name: str) -> Path:
        codec, key_every, options = CODINGS[name]
        return (
            folder / name if (folder / name).exists() else encode(folder / name, codec, key_every, **options)
        )

    return made


def read(path: Path) -> tuple[str, list[Coded], float]:
    """The codec of a file, its packets, and the seconds of a tick."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [coded(packet) for packet in container.demux(stream) if packet.size]
        return stream.codec_context.name, packets, float(stream.time_base or 0)


def units(packet: bytes, annexb: bool) -> list[bytes]:
    """The NAL units of an H.264 packet, whether set apart by start codes or by their lengths, without parameter sets
    and delimiters."""
    if annexb:
        parts = [part for part in packet.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if part]
    else:
        parts, rest = [], packet
        while rest:
            length = int.from_bytes(rest[:4], "big")
            parts.append(rest[4 : 4 + length])
            rest = rest[4 + length :]
    return [part for part in parts if part[0] & 31 not in (7, 8, 9)]


def decoded(path: Path) -> list[float]:
    """Times of all pictures; any that cannot be decoded, or only with repairs, is an error."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.options = {"err_detect": "explode"}
        frames = list(container.decode(video=0))
    assert not any(frame.is_corrupt for frame in frames)
    return [float(frame.time or 0) for frame in frames]


@pytest.mark.parametrize("name", CODINGS)
def test_a_clip_holds_the_recordings_own_packets(
    name: str, recorded: Callable[[str], Path], tmp_path: Path
) -> None:
    (drive,) = find_drives([recorded(name)])
    clip = cut(drive, tmp_path / "clip", 7.3, 11.0, 10.0)
    codec, all_packets, _ = read(recorded(name))
    again, packets, tick_s = read(clip.path)
    assert again == codec
    assert clip.path.suffix == (".mkv" if name.startswith("vp8") else ".mp4")
    assert packets[0].key
    assert clip.begins_s == pytest.approx(7.3 if CODINGS[name][1] == 1 else 6.0, abs=0.11)
    assert clip.notes == ()
    shown = sorted((packet.pts or 0) * tick_s for packet in packets)
    assert shown[0] == pytest.approx(0.0, abs=0.002)
    assert 10.9 < clip.begins_s + shown[-1] < 11.6, "cut by when packets are decoded"
    if name.endswith(".ts"):
        theirs = [units(packet.data, True) for packet in all_packets]
        mine = [units(packet.data, False) for packet in packets]
    else:
        theirs, mine = [[packet.data] for packet in all_packets], [[packet.data] for packet in packets]
    start = theirs.index(mine[0])
    left_out = [i for i, one in enumerate(theirs[start : start + len(mine) + 4]) if one not in mine][:3]
    assert [one for one in theirs[start : start + len(mine) + 4] if one in mine][: len(mine)] == mine
    assert all(0 < i < 4 for i in left_out if i < len(mine)), "none but pictures that precede the key frame"
    times = decoded(clip.path)
    assert len(times) == len(packets)
    assert list(tmp_path.iterdir()) == [clip.path]


def test_an_mp4_can_be_played_before_it_is_loaded(recorded: Callable[[str], Path], tmp_path: Path) -> None:
    (drive,) = find_drives([recorded("h264-b-frames.mp4")])
    data = cut(drive, tmp_path / "clip", 5.0, 9.0, 10.0).path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_folder_of_images_is_encoded(tmp_path: Path) -> None:
    (tmp_path / "stills").mkdir()
    for i, image in enumerate(pictures(60)):
        cv2.imwrite(str(tmp_path / "stills" / f"{i}.png"), image)
    (drive,) = find_drives([tmp_path / "stills"])
    clip = cut(drive, tmp_path / "clip", 2.0, 4.0, 10.0)
    assert len(decoded(clip.path)) == 21
    assert clip.begins_s == 2.0
    assert clip.notes == ("the clip was encoded from a folder of images",)


def test_a_stream_without_time_stamps_gives_no_clip_and_says_why(tmp_path: Path) -> None:
    raw = encode(tmp_path / "raw.h264", "libx264", 10)
    (drive,) = find_drives([raw])
    with pytest.raises(InputError, match="time stamp"):
        cut(drive, tmp_path / "clip", 2.0, 4.0, 10.0)
    assert list(tmp_path.iterdir()) == [raw]


def test_a_clip_that_cannot_be_written_leaves_nothing(
    recorded: Callable[[str], Path], tmp_path: Path
) -> None:
    (drive,) = find_drives([recorded("h264-b-frames.mp4")])
    with pytest.raises(OutputError, match="must be writable"):
        cut(drive, tmp_path / "missing" / "clip", 2.0, 4.0, 10.0)
    assert list(tmp_path.iterdir()) == []


def live(path: Path, ring: PacketRing, until_s: float, from_s: float = 0.0) -> Coding:
    """Put the packets of a file's media times into the ring, as a camera would send them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        coding = Coding(stream)
        ring.begin(coding)
        for packet in container.demux(stream):
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None or not from_s <= float(stamp * coding.time_base) <= until_s:
                continue
            ring.put(coded(packet), float(stamp * coding.time_base))
    return coding


def kept(ring: PacketRing, wanted_s: float, onset_s: float, folder: Path) -> tuple[Clip, list[float], str]:
    take = ring.take(wanted_s, onset_s)
    ring.finish(take)
    assert take.coding is not None
    assert take.begins_s is not None
    path = folder / f"clip{suffix(take.coding)}"
    write_clip(path, take.coding, take.packets)
    return Clip(path, take.begins_s, take.coding.name), decoded(path), take.over


def test_the_ring_holds_what_is_asked_and_little_more(
    recorded: Callable[[str], Path], tmp_path: Path
) -> None:
    ring = PacketRing(keep_s=6.0)
    live(recorded("h264-b-frames.mp4"), ring, 15.05)
    clip, times, over = kept(ring, 9.3, 14.0, tmp_path)
    assert clip.begins_s == pytest.approx(8.0, abs=0.01)
    assert times[-1] == pytest.approx(7.0, abs=0.31)
    assert over == ""
    _, everything, _ = read(recorded("h264-b-frames.mp4"))
    assert 0 < ring.bytes < sum(len(packet.data) for packet in everything[70:160])


def test_a_clip_goes_on_until_it_is_finished(recorded: Callable[[str], Path], tmp_path: Path) -> None:
    ring = PacketRing(keep_s=6.0)
    source = recorded("h264-b-frames.mp4")
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        ring.begin(Coding(stream))
        take = None
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            ring.put(coded(packet), float(packet.pts * packet.time_base))
            if take is None and float(packet.pts * packet.time_base) > 8.0:
                take = ring.take(3.0, 7.0)
            if float(packet.pts * packet.time_base) > 12.0:
                break
    assert take is not None
    ring.finish(take)
    held = len(take.packets)
    ring.put(take.packets[0], 99.0)
    assert len(take.packets) == held
    assert take.begins_s == pytest.approx(2.0, abs=0.01)
    assert take.coding is not None
    write_clip(tmp_path / "clip.mp4", take.coding, take.packets)
    assert decoded(tmp_path / "clip.mp4")[-1] == pytest.approx(10.1, abs=0.35)


def test_a_new_connection_is_another_stretch(recorded: Callable[[str], Path], tmp_path: Path) -> None:
    """Parameter sets of two connections in one file would make all behind the seam unreadable."""
    ring = PacketRing(keep_s=60.0)
    live(recorded("h264-b-frames.mp4"), ring, 8.0)
    before = ring.take(4.0, 7.0)
    live(recorded("hevc.mp4"), ring, 16.0, from_s=10.0)
    ring.finish(before)
    assert before.over == "the connection to the camera was lost"
    assert before.coding is not None
    assert before.coding.name == "h264"
    write_clip(tmp_path / "before.mp4", before.coding, before.packets)
    assert decoded(tmp_path / "before.mp4")[-1] == pytest.approx(4.0, abs=0.31)
    clip, times, over = kept(ring, 9.0, 14.0, tmp_path)
    assert read(clip.path)[0] == "hevc"
    assert clip.begins_s == pytest.approx(10.0, abs=0.01)
    assert over == ""
    assert times[-1] == pytest.approx(6.0, abs=0.31)


def test_a_group_beyond_the_bound_is_given_up_and_memory_stays_bounded(
    recorded: Callable[[str], Path],
) -> None:
    """A camera with a key frame a minute must not fill the memory: the past begins again with its next key frame."""
    source = recorded("h264-b-frames.mp4")
    _, packets, _ = read(source)
    group = sum(len(packet.data) for packet in packets[:20])
    ring = PacketRing(keep_s=60.0, most_bytes=group // 2)
    with av.open(str(source)) as container:
        ring.begin(Coding(container.streams.video[0]))
        for i, packet in enumerate(packets):
            ring.put(packet, i / FPS)
            assert ring.bytes <= group // 2
    assert ring.given_up == len(packets) // 20
    take = ring.take(0.0, 1.0)
    assert take.packets == []
    ring.put(packets[0], 20.0)
    assert [packet.key for packet in take.packets] == [True]
    assert take.begins_s == 20.0
    ring.finish(take)


def test_time_stamps_that_leap_end_a_stretch(recorded: Callable[[str], Path]) -> None:
    source = recorded("mjpeg.avi")
    _, packets, _ = read(source)
    ring = PacketRing(keep_s=60.0)
    with av.open(str(source)) as container:
        ring.begin(Coding(container.streams.video[0]))
    for i, packet in enumerate(packets[:100]):
        ring.put(packet, i / FPS)
    take = ring.take(2.0, 5.0)
    ring.put(packets[0], 10.0)
    ring.finish(take)
    assert (len(take.packets), take.over) == (80, "the connection to the camera was lost")


def test_raw_pictures_are_no_packets() -> None:
    with (
        av.open("testsrc2=size=64x48:rate=10", format="lavfi") as container,
        pytest.raises(ValueError, match="raw pictures"),
    ):
        Coding(container.streams.video[0])

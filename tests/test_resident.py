"""Frames that stay where they were decoded. The GPU's part is played by the processor: ONNX Runtime's own memory there, and
the planes that libav decoded into, by address, padding and all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from av.codec.hwaccel import HWAccel

import engines.decoding
import engines.resident
from engines.backends.onnx_cuda import HOST, OnnxCudaEngine
from engines.backends.scripted import ScriptedEngine
from engines.bundle import open_bundle
from engines.decoding import ON_PROCESSOR, Decode, Decoding, decoding, on_host, shares_memory
from engines.errors import EngineError
from engines.footage import Recording, find_drives, to_frame
from engines.frames import Frame, Image, Resident
from engines.regions import parse_regions
from engines.rendered import Segment
from engines.resident import Keeper, resident, score
from monitor.live.camera import LiveCamera
from monitor.pipeline import Stream, watch
from monitor.rules import Rules

Addresses = Sequence[int]


@pytest.fixture(scope="module")
def engine(rendered_bundle: Path) -> OnnxCudaEngine:
    return OnnxCudaEngine(open_bundle(rendered_bundle).model_path, device=HOST)


@pytest.fixture(scope="module")
def clip(rendered_clip: Callable[..., Path]) -> Path:
    return rendered_clip((Segment("highway", 2.0), Segment("city", 2.0)), 7, (482, 270))


@pytest.fixture
def keeping(engine: OnnxCudaEngine) -> Decoding:
    """Decoding on the processor whose frames stay in its own memory, as a GPU's do in that of the GPU."""
    return replace(ON_PROCESSOR, keeper=partial(Keeper, engine))


def frames(clip: Path, size: tuple[int, int], where: Decoding = ON_PROCESSOR) -> list[Frame]:
    recording = Recording(find_drives([clip])[0], size, decoding=where)
    found = list(recording)
    assert recording.notes == []
    return found


def pictures(clip: Path, pixels: str) -> Iterator[av.VideoFrame]:
    with av.open(str(clip)) as container:
        for picture in container.decode(video=0):
            yield picture.reformat(format=pixels)


def noise(height: int, width: int, pixels: str) -> av.VideoFrame:
    random = np.random.default_rng(height)
    whole = av.VideoFrame.from_ndarray(random.integers(0, 256, (height, width, 3)).astype(np.uint8), "rgb24")
    return whole.reformat(format=pixels)


def assert_close(one: Image, other: Image) -> None:
    """Scores of pictures in which a value in some 250 is a level off: to a thousandth of them at the median."""
    apart = np.abs(one.astype(float) - other) / np.abs(other)
    assert np.median(apart) < 2e-3
    assert apart.max() < 1e-2


def test_frames_that_stay_score_as_those_of_the_processor(
    clip: Path, engine: OnnxCudaEngine, keeping: Decoding
) -> None:
    """Pictures equal but for one level in a per cent; scores of some 80 nats in a fifth of a nat."""
    there, here = frames(clip, engine.input_size, keeping), frames(clip, engine.input_size)
    assert len(there) == len(here) == 40
    for left, right in zip(there, here, strict=True):
        apart = np.abs(left.image.astype(int) - right.image)
        assert apart.max() <= 1
        assert np.mean(apart > 0) < 0.01
        assert left.resident is not None
        assert right.resident is None
        assert left.image is left.resident.image
        np.testing.assert_array_equal(left.luma, right.luma)
        assert left.chroma is not None
        assert right.chroma is not None
        np.testing.assert_array_equal(left.chroma, right.chroma)
        assert (left.time_s, left.key, left.damaged) == (right.time_s, right.key, right.damaged)
    scores = [score(engine, found, [f.image for f in found]) for found in (there, here)]
    assert_close(scores[0].surprise, scores[1].surprise)


def test_a_batch_from_several_memories_scores_as_one_array(engine: OnnxCudaEngine, clip: Path) -> None:
    """Cameras of several sizes, and one whose pictures are the processor's, in one call."""
    mixed = []
    for height, width in ((270, 482), (360, 640), (200, 200)):
        picture = next(pictures(clip, "nv12")).reformat(width, height, format="nv12")
        keeper = Keeper(engine) if height != 200 else None
        mixed.append(to_frame(picture, "cam", 0, 0.0, engine.input_size, keeper))
    assert [frame.resident is None for frame in mixed] == [False, False, True]
    images = [frame.image for frame in mixed]
    together, alone = score(engine, mixed, images), engine.score(np.stack(images))
    for field in fields(alone):
        np.testing.assert_array_equal(getattr(together, field.name), getattr(alone, field.name))
    # What was made of a picture is scored, not the picture.
    darker = [images[0] // 2, *images[1:]]
    np.testing.assert_array_equal(
        score(engine, mixed, darker).surprise, engine.score(np.stack(darker)).surprise
    )
    with pytest.raises(EngineError, match="must be uint8 N×96×144×3"):
        engine.score_resident([images[0][:50], mixed[0].resident])


def test_the_decoders_memory_is_free_again(engine: OnnxCudaEngine) -> None:
    picture = noise(270, 482, "nv12")
    kept = Keeper(engine).keep(picture, picture)
    assert kept is not None
    before = engine.score_resident([kept]).surprise
    for plane in picture.planes:
        plane.update(bytes(plane.buffer_size))
    np.testing.assert_array_equal(engine.score_resident([kept]).surprise, before)
    np.testing.assert_array_equal(engine.score(kept.image[None]).surprise, before)


def test_a_stream_may_change_its_size_and_format(engine: OnnxCudaEngine) -> None:
    keeper, size = Keeper(engine), engine.input_size
    for height, width, pixels, stays in (
        (270, 482, "nv12", True), (360, 640, "nv12", True), (360, 640, "yuv444p", True),
        (360, 640, "yuv420p10le", False), (270, 482, "nv12", True),
    ):  # fmt: skip
        picture = noise(height, width, pixels)
        frame = to_frame(picture, "cam", 0, 0.0, size, keeper)
        assert (frame.resident is not None, keeper.problem is None) == (stays, stays)
        assert np.abs(frame.image.astype(int) - to_frame(picture, "cam", 0, 0.0, size).image).max() <= 1
        if not stays:
            told = (
                "pictures are reduced on the processor: yuv420p10le pictures cannot be reduced where they are"
            )
            assert keeper.problem == told


class Spoilt(OnnxCudaEngine):
    """Its reductions go wrong from a call on: by what ``spoil`` makes of a picture."""

    def reduction(self, graph: onnx.ModelProto) -> Callable[[Addresses], Resident]:
        right, self.calls = super().reduction(graph), 0

        def run(planes: Addresses) -> Resident:
            self.calls += 1
            found = right(planes)
            return found if self.calls <= self.good else self.spoil(found)

        return run

    good = 0

    @staticmethod
    def spoil(found: Resident) -> Resident:
        return Copied(found.image // 2)


@dataclass(frozen=True)
class Copied:
    image: Image


def failing(found: Resident) -> Resident:
    raise EngineError("GPU", "must do as told (an illegal address)")


@pytest.mark.parametrize("good", [0, 5], ids=["at once", "later"])
def test_pictures_that_are_not_the_processors_are_not_taken(
    good: int, clip: Path, rendered_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.resident, "CHECKED_EVERY", 6)
    spoilt = Spoilt(open_bundle(rendered_bundle).model_path, device=HOST)
    spoilt.good = good
    recording = Recording(
        find_drives([clip])[0],
        spoilt.input_size,
        decoding=replace(ON_PROCESSOR, keeper=partial(Keeper, spoilt)),
    )
    found = list(recording)
    kept = [frame.index for frame in found if frame.resident is not None]
    assert kept == list(range(6 if good else 0)), "the sixth picture went unchecked, the seventh was not"
    assert len(recording.notes) == 1
    assert recording.notes[0].startswith(
        "pictures are reduced on the processor: those of the GPU differ by up to "
    )
    right = frames(clip, spoilt.input_size)
    np.testing.assert_array_equal(found[-1].image, right[-1].image)


def test_a_device_that_fails_is_done_without(clip: Path, rendered_bundle: Path) -> None:
    spoilt = Spoilt(open_bundle(rendered_bundle).model_path, device=HOST)
    spoilt.spoil = staticmethod(failing)  # type: ignore[method-assign, assignment]
    keeper = Keeper(spoilt)
    found = [
        to_frame(picture, "cam", 0, 0.0, spoilt.input_size, keeper) for picture in pictures(clip, "nv12")
    ]
    assert [frame.resident for frame in found] == [None] * 40
    assert spoilt.calls == 1, "a layout that failed was tried again"
    assert keeper.problem == "pictures are reduced on the processor: must do as told (an illegal address)"


def test_what_is_watched_is_the_same(rendered_bundle: Path, clip: Path, keeping: Decoding) -> None:
    """Through the main path, with and without a region to ignore, which is filled in on the processor."""
    bundle = open_bundle(rendered_bundle)
    own = OnnxCudaEngine(bundle.model_path, device=HOST)
    for ignored in ((), ((0.0, 0.0, 0.3, 0.3),)):
        rules = Rules(ignored=parse_regions("test", ignored))
        seen = []
        for where in (keeping, ON_PROCESSOR):
            source = Recording(find_drives([clip])[0], own.input_size, decoding=where)
            seen.append(list(watch(source, own, Stream("cam", bundle, rules=rules))))
        kinds = [[(e.kind, e.phase) for one in run for e in one.judged.events] for run in seen]
        assert kinds[0] == kinds[1]
        assert len(seen[0]) == 40
        assert_close(*(np.array([one.surprise for one in run]) for run in seen))


def test_a_live_camera_keeps_its_frames_where_they_are(
    clip: Path, engine: OnnxCudaEngine, keeping: Decoding
) -> None:
    with LiveCamera("cam", f"loop:{clip}", engine.input_size, decoding=keeping) as camera:
        frame = camera.read(10.0)
        assert frame is not None
        assert frame.resident is not None
        assert camera.fallback is None


def test_a_live_camera_says_why_it_does_not(clip: Path, rendered_bundle: Path) -> None:
    spoilt = Spoilt(open_bundle(rendered_bundle).model_path, device=HOST)
    where = replace(ON_PROCESSOR, keeper=partial(Keeper, spoilt))
    with LiveCamera("cam", f"loop:{clip}", spoilt.input_size, decoding=where) as camera:
        frame = camera.read(10.0)
        assert frame is not None
        assert frame.resident is None
        assert camera.fallback is not None
        assert "those of the GPU differ by up to" in camera.fallback


def on_gpu_decoding() -> Decoding:
    return Decoding(HWAccel("cuda", allow_software_fallback=True), stays=True)


@pytest.mark.parametrize(
    ("device", "shared", "reason"),
    [
        (
            "cpu",
            True,
            "pictures are reduced on the processor: onnxruntime-cuda takes none from the GPU's memory",
        ),
        ("cuda", False, "pictures are reduced on the processor: the decoder's memory on the GPU is its own"),
        ("cuda", True, ""),
    ],
    ids=["an engine of the processor", "another's memory", "all is there"],
)
def test_frames_stay_where_decoder_and_engine_share_a_memory(
    device: str, shared: bool, reason: str, rendered_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.resident, "shares_memory", lambda: shared)
    engine = OnnxCudaEngine(open_bundle(rendered_bundle).model_path, device=HOST)
    engine.device = device
    found = resident(on_gpu_decoding(), engine)
    assert found.accelerator is not None
    assert found.reason == reason
    assert found.accelerator.is_hw_owned == (reason == "")
    assert isinstance(found.keeper(), Keeper) == (reason == "")
    if not reason:
        # libav's decoder has to work in the context that CUDA's other users share.
        assert found.accelerator.options["primary_ctx"] == "1"
        # A picture in the processor's memory, as the decoder's own fallback gives it, is not read as if it were the GPU's.
        keeper = found.keeper()
        assert keeper is not None
        assert keeper.keep(picture := noise(90, 160, "nv12"), picture) is None
        assert keeper.problem is not None


def test_frames_come_back_unless_they_are_wanted_there(rendered_bundle: Path) -> None:
    engine = OnnxCudaEngine(open_bundle(rendered_bundle).model_path, device=HOST)
    decoding = replace(on_gpu_decoding(), stays=False)
    assert resident(decoding, engine) is decoding


def test_engines_that_cannot_keep_frames_say_so() -> None:
    found = resident(on_gpu_decoding(), ScriptedEngine((96, 144), 4))
    assert found.reason == "pictures are reduced on the processor: scripted takes none from the GPU's memory"
    assert found.keeper() is None
    assert resident(ON_PROCESSOR, ScriptedEngine((96, 144), 4)) is ON_PROCESSOR


def test_the_gpus_shared_context_is_wanted_first_and_its_own_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """libav refuses the shared one where another library began it, with other flags."""
    asked = []

    class Fake:
        def __init__(
            self, kind: str, is_hw_owned: bool = False, allow_software_fallback: bool = False
        ) -> None:
            self.is_hw_owned = is_hw_owned
            asked.append(is_hw_owned)

        def create(self, codec: object) -> Fake:
            if self.is_hw_owned:
                raise av.OSError(95, "Operation not supported")
            return self

    monkeypatch.setattr(engines.decoding, "HWAccel", Fake)
    monkeypatch.setattr(engines.decoding, "LEAST_PYAV", (0, 0))
    engines.decoding._device.cache_clear()
    try:
        assert decoding(Decode.AUTO).accelerator is not None
        assert not shares_memory()
        assert asked[:2] == [True, False]
    finally:
        engines.decoding._device.cache_clear()


def test_pictures_in_the_processors_memory_are_not_copied() -> None:
    picture = noise(90, 160, "nv12")
    assert on_host(picture) is picture

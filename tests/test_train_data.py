"""What training reads: drives from paths, a layout or a manifest, splits by drive, and views of their frames."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import InputError
from engines.footage import Drive
from engines.frames import Image
from engines.regions import parse_regions
from engines.rendered import write_video
from training.train.augment import (
    Augmentation,
    Harmony,
    Viewer,
    cropped,
    harmonised,
    is_mixed,
    relit,
    resized,
)
from training.train.data import Clip, Frames, Sample, Selection, Sources, by_drive, gather, select, split

SIZE = (32, 48)
RANDOM = np.random.default_rng(3)


def picture(height: int = 48, width: int = 64) -> Image:
    coarse = RANDOM.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


def stills(folder: Path, pictures: list[Image] | int) -> Path:
    folder.mkdir(parents=True)
    shown = [picture() for _ in range(pictures)] if isinstance(pictures, int) else pictures
    for i, image in enumerate(shown):
        cv2.imwrite(str(folder / f"{i}.png"), image)
    return folder


def read(sources: Sources, limit: int = 2**30, **options: object) -> Frames:
    frames = Frames(SIZE, 0.0, limit, **options)  # type: ignore[arg-type]
    frames.read(sources.normal, "reading")
    return frames


def names(sources: Sources) -> list[str]:
    return [drive.name for drive in sources.normal]


def test_videos_and_folders_are_drives_of_their_own(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [picture() for _ in range(5)], 10.0)
    stills(tmp_path / "more" / "b", 4)
    stills(tmp_path / "more" / "c", 3)
    found = gather([tmp_path])
    assert sorted(names(found)) == ["a", "b", "c"]
    assert found.held_out is None
    frames = read(found)
    assert {name: len(list(rows)) for name, rows in by_drive(frames.in_order())} == {"a": 5, "b": 4, "c": 3}
    assert len(frames) == 12
    assert all(image.shape == (*SIZE, 3) for clip in frames.clips for image in clip.images or ())


@pytest.mark.parametrize("limit", [2**30, 0], ids=["kept", "decoded anew"])
def test_what_is_ignored_is_not_learnt_from(limit: int, tmp_path: Path) -> None:
    below = parse_regions("ignore", [(0.0, 0.5, 1.0, 1.0)])
    one, other = picture(), picture()
    other[:32] = one[:32]
    shown = [one, other]
    seen = [
        [
            sample.image
            for _, sample in read(
                gather([stills(tmp_path / f"{n}", [image])]), limit, ignored=below
            ).in_order()
        ]
        for n, image in enumerate(shown)
    ]
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(seen[0][0], seen[1][0])
    np.testing.assert_array_equal(
        seen[0][0][:12], next(read(gather([tmp_path / "0"])).in_order())[1].image[:12]
    )


def test_the_layout_of_mvtec_stands_for_its_good_training_pictures(tmp_path: Path) -> None:
    stills(tmp_path / "bottle" / "train" / "good", 5)
    stills(tmp_path / "bottle" / "test" / "broken", 2)
    found = gather([tmp_path / "bottle"])
    assert names(found) == ["good"]
    assert found.normal[0].path == tmp_path / "bottle" / "train" / "good"
    assert len(read(found)) == 5


@pytest.mark.parametrize("role", ["normal", "other"])
def test_a_class_that_was_forgotten_is_told(role: str, tmp_path: Path) -> None:
    stills(tmp_path / "normal" / "a", 3)
    stills(tmp_path / "other" / "b", 3)
    (tmp_path / role / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty: must hold videos or images; it is empty; fill it, or remove it"
    ):
        gather([tmp_path / "normal"], [tmp_path / "other"])


def manifest(folder: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    for path, *_ in rows:
        stills(folder / path, 3)
    with (folder / "drives.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "drive", "split"), *rows])
    return folder / "drives.csv"


def test_a_manifest_says_what_teaches_and_what_judges(tmp_path: Path) -> None:
    file = manifest(
        tmp_path,
        [
            ("x/1", "highway", "one", "train"), ("y/1", "highway", "one", "train"), ("z", "highway", "two", "train"),
            ("v", "highway", "three", "val"), ("c", "city", "four", "train"), ("d", "city", "five", "val"),
        ],
    )  # fmt: skip
    found = select(file, Selection("highway", "train", "val", "city"))
    assert names(found) == ["one/x/1", "one/y/1", "z", "v"]
    assert found.groups == ("one", "one", "two", "three")
    assert found.held_out == {"v"}
    assert [drive.name for drive in found.other] == ["c"]
    assert split(found, read(found), 0.5, 0) == {"v"}


def test_recordings_of_one_drive_are_never_parted(tmp_path: Path) -> None:
    file = manifest(
        tmp_path,
        [(f"{drive}{part}", "highway", drive, "train") for drive in "abcde" for part in range(3)],
    )
    found = select(file, Selection("highway"))
    frames = read(found)
    for seed in range(8):
        held_out = split(found, frames, 0.4, seed)
        assert len({name[0] for name in held_out}) == 2
        assert len(held_out) == 6
    assert len({split(found, frames, 0.4, seed) for seed in range(8)}) > 1
    assert split(found, frames, 0.0, 0) == frozenset()
    assert len(split(found, frames, 0.01, 0)) == 3


def test_a_drive_on_both_sides_of_the_stated_split_is_refused(tmp_path: Path) -> None:
    file = manifest(tmp_path, [("a", "highway", "one", "train"), ("b", "highway", "one", "val")])
    with pytest.raises(InputError, match="must have a drive on one side of the split, has one on both"):
        select(file, Selection("highway", "train", "val"))


def test_a_label_that_no_row_has_is_told_with_those_that_are(tmp_path: Path) -> None:
    file = manifest(tmp_path, [("a", "highway", "one", "train"), ("b", "city", "two", "val")])
    with pytest.raises(
        InputError, match="must have rows of label motorway and split train, has city val, highway train"
    ):
        select(file, Selection("motorway"))


def test_drives_that_share_pictures_are_held_out_together(tmp_path: Path) -> None:
    """A copy of a drive on the other side of the split would judge what was learnt by heart."""
    shown = [picture() for _ in range(6)]
    for name, pictures in {"a": shown, "copy": [*shown[:3], *(picture() for _ in range(3))]}.items():
        stills(tmp_path / name, pictures)
    stills(tmp_path / "c", 6)
    found = gather([tmp_path])
    for seed in range(6):
        frames = read(found)
        assert split(found, frames, 0.3, seed) in ({"a", "copy"}, {"c"})
        assert any("3 pictures are in a too; the two are held out together" in note for note in frames.notes)


def test_one_drive_leaves_nothing_to_hold_out(tmp_path: Path) -> None:
    found = gather([stills(tmp_path / "a", 4)])
    assert split(found, read(found), 0.5, 0) == frozenset()


def test_an_unreadable_picture_in_the_middle_is_left_out_and_told(tmp_path: Path) -> None:
    folder = stills(tmp_path / "a", 5)
    (folder / "2.png").write_bytes(b"no picture")
    frames = read(gather([folder]))
    assert len(frames) == 4
    assert frames.notes == ["a: 2.png cannot be read as an image; it was left out"]


def test_pictures_that_repeat_are_told_and_ones_that_never_change_are_known(tmp_path: Path) -> None:
    one, two = picture(), picture()
    repeating = read(gather([stills(tmp_path / "a", [one, two, one, two])]))
    assert repeating.notes == ["a: 2 of 4 pictures repeat an earlier one"]
    assert repeating.varies
    assert not read(gather([stills(tmp_path / "b", [one, one, one])])).varies
    assert not read(gather([stills(tmp_path / "c", [one // 2, one // 2 + 1])])).varies


@pytest.mark.parametrize("limit", [2**30, 6 * 32 * 48 * 3, 0], ids=["all kept", "some kept", "none kept"])
def test_every_frame_comes_once_an_epoch_whatever_fits_in_memory(limit: int, tmp_path: Path) -> None:
    for name in "abc":
        stills(tmp_path / name, 5)
    frames = read(gather([tmp_path]), limit)
    assert frames.streamed == {2**30: 0, 6 * 32 * 48 * 3: 10, 0: 15}[limit]

    def epoch(seed: int) -> list[bytes]:
        return [s.image.tobytes() for s in frames.shuffled(np.random.default_rng(seed))]

    wanted = [s.image.tobytes() for _, s in frames.in_order()]
    assert sorted(epoch(0)) == sorted(wanted)
    assert epoch(0) == epoch(0) != epoch(1)
    assert len(frames.only(lambda drive: drive.name != "b")) == 10


def test_frames_have_one_identity_and_another_when_one_changes(tmp_path: Path) -> None:
    folder = stills(tmp_path / "a", 4)
    before = read(gather([folder])).digest
    assert read(gather([folder]), limit=0).digest == before
    cv2.imwrite(str(folder / "3.png"), picture())
    assert read(gather([folder])).digest != before


def test_folders_of_images_are_played_as_stated(tmp_path: Path) -> None:
    """At 10 images and 2 frames per second, four of five single pictures would never be seen."""
    found = gather([stills(tmp_path / "a", 10)])
    for pace, count in ((10.0, 2), (1.0, 10)):
        frames = Frames(SIZE, 0.5, 2**30, images_per_second=pace)
        frames.read(found.normal, "reading")
        assert len(frames) == count


def view(
    image: Image, augmentation: Augmentation, harmony: Harmony | None = None, seed: int = 0
) -> tuple[Image, Image]:
    sample = Sample(image, image.shape[1] / image.shape[0])
    return Viewer(SIZE, augmentation, harmony).view(sample, np.random.default_rng(seed))


PLAIN = Augmentation(crop=0.0, light=0.0)


def test_nothing_asked_for_is_nothing_changed() -> None:
    image = picture(*SIZE)
    seen, clean = view(image, PLAIN)
    np.testing.assert_array_equal(seen, image)
    np.testing.assert_array_equal(clean, image)
    np.testing.assert_array_equal(relit(image, 0.0, RANDOM), image)


def test_a_view_is_drawn_anew_by_its_seed_alone() -> None:
    image = picture()
    one, again, other = (view(image, Augmentation(), seed=s)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert one.shape == (*SIZE, 3)


def test_a_crop_cuts_no_more_than_it_may() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    shapes = [cropped(image, 0.2, np.random.default_rng(s)).shape for s in range(200)]
    heights, widths = [s[0] for s in shapes], [s[1] for s in shapes]
    assert 80 <= min(heights) < 85 < 95 < max(heights) <= 100
    assert 160 <= min(widths) < 170 < 190 < max(widths) <= 200


def test_light_changes_by_no_more_than_it_may() -> None:
    grey = np.full((*SIZE, 3), 128, np.uint8)
    shown = np.stack([relit(grey, 0.1, np.random.default_rng(s))[0, 0] for s in range(200)])
    # Gain and a colour by 1.1 and √1.1, gamma by what 1.1 makes of mid-grey.
    brightest = 128 * 1.1 * 1.1**0.5 * (128 / 255) ** (1 / 1.1 - 1)
    assert 128 < shown.max() <= np.ceil(brightest)
    assert np.ptp(shown, axis=1).max() > 0
    white = relit(np.full((*SIZE, 3), 255, np.uint8), 0.5, np.random.default_rng(0))
    assert white.min() > 100


def test_mirrored_pictures_are_mirrored() -> None:
    image = picture(*SIZE)
    seen, clean = view(image, Augmentation(crop=0.0, light=0.0, mirror=1.0))
    np.testing.assert_array_equal(seen, image[:, ::-1])
    np.testing.assert_array_equal(clean, seen)


def test_faults_are_in_what_is_seen_and_not_in_what_is_answered() -> None:
    image = picture(*SIZE)
    seen, clean = view(image, Augmentation(crop=0.0, light=0.0, faults=("noise",), fault_share=1.0))
    np.testing.assert_array_equal(clean, image)
    assert (seen != image).mean() > 0.1
    untouched, _ = view(image, Augmentation(crop=0.0, light=0.0, faults=("noise",), fault_share=0.0))
    np.testing.assert_array_equal(untouched, image)


def clip(name: str, aspect: float, video: bool = True) -> Clip:
    path = Path(f"{name}.mp4" if video else name)
    return Clip(Drive(name, path, () if video else (path / "0.png",)), 0, aspect, ())


@pytest.mark.parametrize(
    ("clips", "mixed"),
    [
        ([clip("a", 1.778), clip("b", 1.7783)], False),
        ([clip("a", 1.778), clip("b", 1.333)], True),
        ([clip("a", 1.5), clip("b", 1.5, video=False)], True),
    ],
    ids=["alike", "aspect", "format"],
)
def test_sources_are_mixed_where_aspect_or_format_differ(clips: list[Clip], mixed: bool) -> None:
    assert is_mixed(clips) == mixed


@pytest.mark.parametrize("aspect", [0.8, 1.5, 3.0], ids=["tall", "as wanted", "wide"])
def test_harmonised_pictures_have_one_aspect_resolution_and_quality(aspect: float) -> None:
    """A circle in the camera's own picture stays one: what is cropped is cropped, not squeezed."""
    height = 240
    own = np.full((height, round(height * aspect), 3), 40, np.uint8)
    cv2.circle(own, (own.shape[1] // 2, height // 2), 50, (220, 220, 220), -1)
    stored = resized(own, (120, 180))
    found = harmonised(stored, aspect, Harmony(height=96), 64)
    assert found.shape == (96, 144, 3)
    disc = found[:, :, 0] > 130
    tall, wide = disc.any(1).sum(), disc.any(0).sum()
    assert tall == pytest.approx(wide, rel=0.12)
    assert harmonised(stored, aspect, Harmony(), 64).shape == (64, 96, 3)


def test_harmony_touches_the_share_it_is_told() -> None:
    image = picture(*SIZE)
    harmony = Harmony(share=0.25, quality=10)
    changed = [(view(image, PLAIN, harmony, seed)[0] != image).any() for seed in range(200)]
    assert np.mean(changed) == pytest.approx(0.25, abs=0.08)


def test_enlarging_is_smooth_and_reducing_averages() -> None:
    edge = np.zeros((4, 4, 3), np.uint8)
    edge[:, 2:] = 200
    assert len(np.unique(resized(edge, (16, 16)))) > 2
    fine = np.indices((8, 8)).sum(0)[:, :, None].repeat(3, 2).astype(np.uint8) % 2 * 200
    np.testing.assert_array_equal(resized(fine, (2, 2)), np.full((2, 2, 3), 100))

"""Two faults at once, and mild ones at random: what is still told apart, and what is refused."""

from __future__ import annotations

import itertools
import re

import cv2
import numpy as np
import pytest

from engines.errors import InputError
from engines.faults import (
    FAULTS,
    KEEPS_SCENE,
    Timed,
    apply,
    faults_of,
    inject,
    inject_timed,
    pairs,
    random_fault,
    severities_of,
)
from engines.frames import Image

FRAME_MODES = [mode for mode, fault in FAULTS.items() if fault.on_frame is not None]


def scene(seed: int, height: int = 72, width: int = 108) -> Image:
    """Flat patches in colours under a bright sky, with detail."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (5, 8, 3), np.uint8)
    coarse[0] = (150, 190, 230)
    large = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.clip(large + rng.normal(0, 8, large.shape), 0, 255).astype(np.uint8)


def difference(a: Image, b: Image) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def test_a_pair_is_the_second_fault_on_what_the_first_left() -> None:
    image = scene(0)
    both = apply(image, "mud+noise", 3, seed=5)
    assert np.array_equal(both, apply(apply(image, "mud", 3, seed=5), "noise", 3, seed=5))
    assert not np.array_equal(both, apply(image, "noise+mud", 3, seed=5))


def test_a_pair_in_a_clip_is_one_fault_in_the_other() -> None:
    clean = [Timed(n / 10, scene(n)) for n in range(12)]
    both = list(inject_timed(clean, "noise+freeze", 0.4, 0.9, seed=1))
    assert all(np.array_equal(both[n].image, both[4].image) for n in range(4, 9))
    assert np.array_equal(both[4].image, apply(clean[4].image, "noise", seed=1))
    fresh = list(inject_timed(clean, "freeze+noise", 0.4, 0.9, seed=1))
    assert not np.array_equal(fresh[4].image, fresh[5].image)
    assert difference(fresh[4].image, fresh[8].image) < 0.5 * difference(clean[4].image, clean[8].image)
    for n in (*range(4), *range(9, 12)):
        assert np.array_equal(both[n].image, clean[n].image), n


def test_timing_and_pictures_break_together() -> None:
    clean = [Timed(n / 10, scene(n)) for n in range(40)]
    broken = list(inject_timed(clean, "mud+irregular_frames", severity=3, seed=3))
    alone = list(inject_timed(clean, "irregular_frames", severity=3, seed=3))
    assert [time_s for time_s, _ in broken] == [time_s for time_s, _ in alone]
    assert all(
        np.array_equal(a.image, apply(b.image, "mud", 3, 3)) for a, b in zip(broken, alone, strict=True)
    )


def test_both_faults_of_every_pair_of_pictures_show() -> None:
    image = scene(1)
    alone = {mode: apply(image, mode, 3, seed=1) for mode in FRAME_MODES}
    tried = 0
    for pair in pairs(3):
        first, second = pair.split("+")
        if first not in alone or second not in alone:
            continue
        both = FAULTS[second].on_frame(alone[first], 3, 1)  # type: ignore[misc]
        assert difference(both, alone[first]) > 0.4, f"{second} does not show in {pair}"
        assert difference(both, alone[second]) > 0.4, f"{first} does not show in {pair}"
        tried += 1
    assert tried > 500


@pytest.mark.parametrize("severity", range(1, 6))
def test_listed_pairs_are_those_that_are_accepted(severity: int) -> None:
    listed = set(pairs(severity))
    for first, second in itertools.permutations(FAULTS, 2):
        pair = f"{first}+{second}"
        if pair in listed:
            assert [fault.mode for fault in faults_of(pair, severity)] == [first, second]
            assert severity in severities_of(pair)
        else:
            with pytest.raises(InputError, match="must be two modes that can both be seen"):
                faults_of(pair, severity)


@pytest.mark.parametrize(
    ("pair", "severity", "says"),
    [
        ("black+noise", 1, "black leaves nothing of the other"),
        ("noise+black", 1, "black leaves nothing of the other"),
        ("mud+white", 4, "white at severity 4 leaves nothing of the other"),
        ("covered+noise", 5, "covered at severity 5 leaves nothing"),
        ("disconnected+blur", 5, "disconnected at severity 5 leaves nothing"),
        ("mud+mud", 3, "they are the same"),
        ("freeze+loop", 3, "cannot come to a standstill once more"),
        ("vibration+freeze", 3, "does not show in a held picture"),
        ("colour_cast+monochrome", 3, "nothing of the first is left in grey"),
        ("no_demosaic+channel_swap", 3, "grey has no channels to swap"),
        ("white+under_exposed", 2, "one undoes the other"),
        ("mud+gremlin", 3, "fault gremlin in mud+gremlin: must be one of disconnected"),
        ("mud+", 3, "fault '' in mud+: must be one of"),
        ("mud+noise+blur", 3, "must be one mode or two, not 3"),
        ("mud+noise", 0, "severity must be 1, 2, 3, 4 or 5, not 0"),
    ],
)
def test_pairs_that_make_no_sense_are_refused_in_one_line(pair: str, severity: int, says: str) -> None:
    for call in (lambda: apply(scene(0), pair, severity), lambda: inject([], pair, severity=severity)):
        with pytest.raises(InputError, match=re.escape(says)) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_pair_of_which_one_needs_a_clip_is_no_fault_of_a_picture() -> None:
    with pytest.raises(InputError, match="fault freeze: acts on a sequence"):
        apply(scene(0), "mud+freeze")


def test_severities_of_a_pair_end_where_one_hides_the_other() -> None:
    assert severities_of("mud+noise") == (1, 2, 3, 4, 5)
    assert severities_of("mud+white") == (1, 2, 3)
    with pytest.raises(InputError, match="black leaves nothing"):
        severities_of("black+mud")


def test_random_faults_are_of_many_modes_and_come_again_with_their_generator() -> None:
    image = scene(2)
    image.setflags(write=False)
    first, again = (
        [random_fault(image, rng) for _ in range(60)]
        for rng in (np.random.default_rng(9), np.random.default_rng(9))
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({picture.tobytes() for picture in first}) > 50
    assert not any(np.shares_memory(picture, image) for picture in first)


def test_random_faults_keep_the_scene() -> None:
    """Reduced to a thumbnail, damaged scenes resemble themselves more than any other, nearly always."""
    rng = np.random.default_rng(4)
    scenes = [scene(n) for n in range(12)]
    clean = np.stack([thumbnail(image) for image in scenes])
    told = [
        int(np.argmax(clean @ thumbnail(random_fault(scenes[n % 12], rng)))) == n % 12 for n in range(360)
    ]
    assert np.mean(told) > 0.9


def thumbnail(image: Image) -> np.ndarray:
    small = cv2.resize(image, (16, 10), interpolation=cv2.INTER_AREA).mean(axis=2)
    level = small - small.mean()
    return (level / (np.linalg.norm(level) + 1e-9)).ravel()


def test_mild_random_faults_do_less() -> None:
    image = scene(3)
    harm = [
        np.mean([difference(image, random_fault(image, rng, strongest)) for _ in range(200)])
        for strongest, rng in ((1, np.random.default_rng(1)), (5, np.random.default_rng(1)))
    ]
    assert harm[0] < 0.7 * harm[1]
    with pytest.raises(InputError, match="strongest must be 1, 2, 3, 4 or 5, not 6"):
        random_fault(image, np.random.default_rng(0), strongest=6)


def test_every_mode_that_a_picture_shows_says_whether_it_keeps_the_scene() -> None:
    assert set(KEEPS_SCENE) == set(FRAME_MODES) - {"black", "flipped"}
    assert all(severity in range(1, 6) for severity in KEEPS_SCENE.values())

"""Channels, thresholds and the detector: pure, so they are fed scripted scores."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest

from engines.decision import (
    CHANNELS,
    Calibration,
    Channel,
    Channels,
    HeldOut,
    Rule,
    calibrate,
    calibration_without,
    held_out,
    held_peak,
    run_channels,
)
from engines.errors import CalibrationError
from engines.health import CHECKS, Health, Suspicion
from engines.health.fault import Fault
from monitor.detector import PATIENCE_S, Detector, Sample
from monitor.events import Event, Phase, Verdict

RANDOM = np.random.default_rng(3)
RULE = Rule()
FPS = 10.0
WITHIN = np.eye(2)


def calibration(rule: Rule = RULE) -> Calibration:
    channels = (
        Channel("domain", 20.0, 10.0),
        Channel("departure", 3.0, 0.5),
        Channel("corruption", 1.0, 0.0),
    )
    peaks = [{"domain": 12.0 + i, "departure": 1.0, "corruption": 0.5} for i in range(9)]
    typical = {c.name: c.typical for c in channels}
    units = tuple(HeldOut(i, 60.0, typical, peak) for i, peak in enumerate(peaks))
    return Calibration(rule, channels, "drive", 9, 60.0, 12.0, units)


def health(suspect: Fault | None = None, still_s: float = 0.0) -> Health:
    if suspect is None:
        return Health()
    check = next(c for c in CHECKS if c.fault == suspect)
    return Health({}, (Suspicion(suspect, check.statistic, 1.0, 0.5, check.unit, check.confirm_s),))


def samples(script: Iterable[tuple[float, float, Fault | None]], fps: float = FPS) -> list[Sample]:
    """(seconds, surprise, suspected fault) stretches, one after another."""
    result: list[Sample] = []
    for seconds, surprise, suspect in script:
        for _ in range(round(seconds * fps)):
            result.append(Sample(len(result) / fps, surprise, np.zeros(2), health(suspect)))
    return result


def run(stream: list[Sample]) -> list[Event]:
    detector = Detector("cam", calibration(), WITHIN)
    events = [e for s in stream for e in detector.update(s).events]
    return [*events, *detector.finish()]


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(e.phase.value, e.mode or e.kind.value) for e in events]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([(30, 10, None)], []),
        ([(10, 10, None), (0.5, 60, None), (10, 10, None)], []),
        ([(10, 10, None), (8, 60, None), (10, 10, None)], [("start", "left_domain"), ("end", "left_domain")]),
        ([(10, 10, None), (8, 60, None)], [("start", "left_domain"), ("end", "left_domain")]),
        # Inside the hysteresis an event goes on: 19 is below the threshold of 20 and above the clearing level.
        (
            [(10, 10, None), (8, 60, None), (9, 19, None), (1, 60, None)],
            [("start", "left_domain"), ("end", "left_domain")],
        ),
        ([(5, 10, None), (3, 10, Fault.BLACK), (5, 10, None)], [("start", "black"), ("end", "black")]),
        ([(5, 10, None), (0.3, 10, Fault.BLACK), (5, 10, None)], []),
        # A broken picture says nothing of the scene, however strange its score.
        ([(5, 10, None), (5, 900, Fault.BLUR), (5, 10, None)], [("start", "blur"), ("end", "blur")]),
        (
            [(10, 10, None), (5, 60, None), (5, 60, Fault.BLACK), (3, 10, None)],
            [("start", "left_domain"), ("end", "left_domain"), ("start", "black"), ("end", "black")],
        ),
    ],
    ids=[
        "clean",
        "too short",
        "city",
        "ends in the city",
        "hysteresis",
        "black",
        "flash",
        "blur",
        "fault outranks domain",
    ],
)
def test_scripts_give_the_events_expected(
    script: list[tuple[float, float, Fault | None]], expected: list[tuple[str, str]]
) -> None:
    events = [e for e in run(samples(script)) if e.phase is not Phase.UPDATE]
    assert told(events) == expected


def test_long_events_are_updated_and_keep_their_number() -> None:
    events = run(samples([(10, 10, None), (35, 60, None), (10, 10, None)]))
    assert [e.phase for e in events].count(Phase.UPDATE) == 3
    assert {e.number for e in events} == {1}
    assert events[-1].end_s is not None
    assert events[-1].end_s < events[-1].time_s


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0])
def test_onset_is_told_apart_from_detection(fps: float) -> None:
    start = run(samples([(15, 10, None), (10, 60, None)], fps))[0]
    assert abs(start.onset_s - 15.0) <= 1.0
    assert RULE.confirm_s <= start.detected_s - 15.0 <= RULE.confirm_s + 1.0


def test_refractory_time_keeps_a_second_event_back() -> None:
    script = [(10.0, 10.0, None), (6.0, 60.0, None), (5.0, 10.0, None), (14.0, 60.0, None)]
    events = run(samples(script))
    first, second = (e for e in events if e.phase is Phase.START)
    ended_s = next(e.time_s for e in events if e.phase is Phase.END)
    # Without it the second event would be believed confirm_s after the scene changed again, at 21 s.
    assert second.detected_s >= ended_s + RULE.refractory_s > 21.0 + RULE.confirm_s
    assert first.number + 1 == second.number


def test_departure_speaks_when_the_latent_moves_and_not_at_first() -> None:
    still = [Sample(i / FPS, 10.0, RANDOM.normal(size=2) * 0.1, health()) for i in range(150)]
    moved = [Sample((150 + i) / FPS, 10.0, np.array([9.0, 0.0]), health()) for i in range(60)]
    events = run(still + moved)
    assert told(events) == [("start", "left_domain"), ("end", "left_domain")]
    assert events[0].channel == "departure"
    assert abs(events[0].onset_s - 15.0) <= 1.0


def changed(
    surprise: float,
    latent: float,
    damage: float,
    nearest: Suspicion | None = None,
    hint: float | None = None,
) -> tuple[Event, ...]:
    """Events of a stream that is as usual for 15 s and then has these scores; hint: at what is hinted at so many
    seconds after that."""
    detector = Detector("cam", calibration(), WITHIN, {"domain": "nats"})
    found: tuple[Event, ...] = ()
    for i in range(220):
        new = i >= 150
        sample = Sample(
            i / FPS,
            surprise if new else 10.0,
            np.array([latent if new else 0.0, 0.0]),
            Health(
                {},
                (),
                nearest if new else None,
                NEAR if hint is not None and i == 150 + round(hint * FPS) else None,
            ),
            damage if new else 2.0,
        )
        found += detector.update(sample).events
    return found


NEAR = Suspicion(Fault.BLUR, "blur", 1.1, 1.2, "log sharpness", 1.5)


@pytest.mark.parametrize(
    ("surprise", "latent", "damage", "nearest", "expected"),
    [
        pytest.param(60.0, 9.0, 2.0, None, (Verdict.LEFT_DOMAIN, ""), id="deep alone"),
        pytest.param(10.0, 0.0, 9.0, None, (Verdict.CAMERA_FAULT, "corrupted"), id="early alone"),
        pytest.param(
            10.0, 9.0, 20.0, None, (Verdict.CAMERA_FAULT, "corrupted"), id="early far more than deep"
        ),
        pytest.param(10.0, 9.0, 7.0, None, (Verdict.CANT_TELL, ""), id="early a little more than deep"),
        pytest.param(10.0, 9.0, 4.0, None, (Verdict.LEFT_DOMAIN, ""), id="a new scene corrupts a little too"),
        pytest.param(10.0, 0.0, 3.8, None, (Verdict.CANT_TELL, ""), id="early alone but weakly"),
        pytest.param(23.0, 0.0, 2.0, NEAR, (Verdict.CANT_TELL, ""), id="a check nearly spoke"),
        pytest.param(60.0, 9.0, 2.0, NEAR, (Verdict.LEFT_DOMAIN, ""), id="a scene beyond doubt all the same"),
    ],
)
def test_a_new_scene_is_told_from_a_broken_picture_or_said_not_to_be(
    surprise: float, latent: float, damage: float, nearest: Suspicion | None, expected: tuple[Verdict, str]
) -> None:
    events = changed(surprise, latent, damage, nearest)
    assert events
    assert (events[0].kind, events[0].mode) == expected


@pytest.mark.parametrize(
    ("hint", "kind"),
    [(1.2, Verdict.CANT_TELL), (-0.5, Verdict.CANT_TELL), (-4.0, Verdict.LEFT_DOMAIN)],
    ids=["as it begins", "just before", "long before"],
)
def test_a_hint_outweighs_a_plain_change(hint: float, kind: Verdict) -> None:
    (event, *_) = changed(60.0, 9.0, 2.0, hint=hint)
    assert event.kind is kind
    waited = event.detected_s - 15.0 - RULE.confirm_s
    # Time for a check to say what it is.
    assert waited >= PATIENCE_S if kind is Verdict.CANT_TELL else waited < 1.0
    named = event.runner_up is not None and event.runner_up.mode == "blur"
    assert named is (kind is Verdict.CANT_TELL)


def test_an_event_says_how_sure_it_is_and_what_else_it_might_have_been() -> None:
    (start, *_) = changed(60.0, 0.0, 2.6)
    assert (start.kind, start.channel, start.unit) == (Verdict.LEFT_DOMAIN, "domain", "nats")
    # Nine held-out peaks, all below: nothing smaller can be said with nine.
    assert start.p_value == 0.1
    assert start.budget_per_hour == 12.0
    assert start.runner_up is not None
    assert (start.runner_up.kind, start.runner_up.mode) == (Verdict.CAMERA_FAULT, "corrupted")
    assert 0.0 < start.runner_up.closeness < 1.0
    assert calibration().p_value("domain", 14.5) == pytest.approx(0.7)
    fault = next(e for e in run(samples([(5, 10, None), (3, 10, Fault.BLUR)])) if e.phase is Phase.START)
    assert fault.p_value is None
    assert fault.budget_per_hour == 12.0


def test_a_corrupted_picture_ends_when_the_picture_is_as_before() -> None:
    detector = Detector("cam", calibration(), WITHIN)
    events: list[Event] = []
    for i in range(400):
        damage = 9.0 if 150 <= i < 250 else 2.0
        events += detector.update(Sample(i / FPS, 10.0, np.zeros(2), health(), damage)).events
    assert told(events) == [("start", "corrupted"), ("end", "corrupted")]
    assert abs(events[-1].time_s - 25.0) < 6.0


def test_silence_with_a_link_is_stale() -> None:
    detector = Detector("cam", calibration(), WITHIN)
    detector.update(Sample(0.0, 10.0, np.zeros(2), health()))
    (start,) = detector.no_frames(4.0, 0.0, 3.0, linked=True)
    assert start.kind is Verdict.STALE


def test_the_same_samples_give_the_same_events() -> None:
    stream = samples([(10, 10, None), (8, 60, None), (5, 10, Fault.WHITE), (8, 10, None)])
    assert run(stream) == run(stream)


def test_no_frames_begins_after_its_limit_and_ends_with_frames() -> None:
    detector = Detector("cam", calibration(), WITHIN)
    for sample in samples([(5, 10, None)]):
        detector.update(sample)
    assert detector.no_frames(6.0, 4.9, 3.0) == ()
    (start,) = detector.no_frames(8.0, 4.9, 3.0)
    assert (start.kind, start.mode, start.onset_s) == (Verdict.NO_SIGNAL, "no_frames", 4.9)
    assert (start.channel, start.unit, start.budget_per_hour) == ("frame age", "s", None)
    assert detector.no_frames(9.0, 4.9, 3.0) == ()
    after = [Sample(10.0 + i / FPS, 10.0, np.zeros(2), health()) for i in range(20)]
    assert told([e for s in after for e in detector.update(s).events]) == [("end", "no_frames")]


def test_no_frames_is_told_whenever_the_last_one_came() -> None:
    """Of two moments that lie 3 s apart the difference may be rounded to less, and the silence went untold."""
    for since_s in np.random.default_rng(0).uniform(0.0, 1e4, 500):
        detector = Detector("cam", calibration(), WITHIN)
        detector.update(Sample(since_s, 10.0, np.zeros(2), health()))
        assert len(detector.no_frames(since_s + 3.0, since_s, 3.0)) == 1
        assert detector.silent


def silenced_at(last_s: float) -> Detector:
    """A detector whose camera went silent after 5 s, which was told at 8 s."""
    detector = Detector("cam", calibration(), WITHIN)
    for sample in samples([(last_s, 10, None)]):
        detector.update(sample)
    assert len(detector.no_frames(last_s + 3.0, last_s - 0.1, 3.0)) == 1
    return detector


def test_a_frame_that_was_held_back_does_not_end_the_silence_behind_it() -> None:
    """libav hands out the last picture before an outage once the next packet comes, or the connection ends."""
    detector = silenced_at(5.0)
    late = [Sample(5.0, 10.0, np.zeros(2), health())]
    after = [Sample(21.0 + i / FPS, 10.0, np.zeros(2), health()) for i in range(20)]
    said = [event for sample in late + after for event in detector.update(sample).events]
    (end,) = (event for event in said if event.phase != Phase.UPDATE)
    assert (end.phase, end.end_s) == (Phase.END, 21.0)
    assert end.time_s == pytest.approx(21.5)


def test_pictures_that_come_too_rarely_are_one_silence() -> None:
    detector = silenced_at(5.0)
    rare = [Sample(10.0 * i, 10.0, np.zeros(2), health()) for i in range(1, 30)]
    assert [
        event for sample in rare for event in detector.update(sample).events if event.phase != Phase.UPDATE
    ] == []


@pytest.mark.parametrize(("gap_s", "told_of"), [(10.0, ["departure"]), (3600.0, [])])
def test_what_was_before_a_long_outage_is_no_past(gap_s: float, told_of: list[str]) -> None:
    detector = silenced_at(60.0)
    later = 60.0 + gap_s
    after = [Sample(later + i / FPS, 10.0, np.full(2, 9.0), health()) for i in range(100)]
    events = [event for sample in after for event in detector.update(sample).events]
    assert [e.channel for e in events if e.phase == Phase.START] == told_of


@pytest.mark.parametrize("time_s", [0.0, -1.0])
def test_time_that_does_not_advance_is_refused(time_s: float) -> None:
    detector = Detector("cam", calibration(), WITHIN)
    detector.update(Sample(0.0, 10.0, np.zeros(2), health()))
    with pytest.raises(ValueError, match="cam: "):
        detector.update(Sample(time_s, 10.0, np.zeros(2), health()))


@pytest.mark.parametrize(
    ("surprise", "latent"),
    [(math.nan, 0.0), (math.inf, 0.0), (-math.inf, 0.0), (10.0, math.nan), (10.0, math.inf)],
)
def test_a_score_that_is_not_finite_moves_nothing_and_hides_no_fault(surprise: float, latent: float) -> None:
    """It used to end the daemon: the detector refused it with a ValueError that nobody caught."""
    detector = Detector("cam", calibration(), WITHIN)
    before = detector.update(Sample(0.0, 10.0, np.zeros(2), health()))
    unscored = detector.update(Sample(0.1, surprise, np.full(2, latent), health()))
    assert unscored.levels == before.levels
    assert (unscored.verdict, unscored.events) == (Verdict.OK, ())
    events = [
        event
        for i in range(2, 30)
        for event in detector.update(
            Sample(0.1 * i, surprise, np.full(2, latent), health(Fault.BLACK))
        ).events
    ]
    assert [(e.phase, e.mode) for e in events] == [(Phase.START, "black")]


@pytest.mark.parametrize("hold_s", [0.0, 0.5, 2.0])
def test_held_peak_equals_brute_force(hold_s: float) -> None:
    times = np.cumsum(RANDOM.random(200) * 0.2)
    values = RANDOM.normal(size=200)
    values[:10], values[90:95] = np.nan, np.nan
    best = -math.inf
    for i in range(200):
        inside = [j for j in range(i + 1) if times[j] >= times[i] - hold_s]
        run_of = [j for j in range(i + 1) if np.isfinite(values[j : i + 1]).all()]
        if np.isfinite(values[inside]).all() and run_of and times[i] - times[run_of[0]] >= hold_s:
            best = max(best, values[inside].min())
    assert held_peak(times, values, hold_s) == best


def units(peaks: list[float]) -> list[HeldOut]:
    times = np.arange(0, 60, 0.1)
    level = [np.where(times > 30, p, 0.0) for p in peaks]
    return [held_out(i, times, {"domain": v, "departure": v}, RULE) for i, v in enumerate(level)]


def test_threshold_is_the_order_statistic_with_its_margin() -> None:
    found = calibrate(units([1.0, 5.0, 3.0, 2.0]), RULE, "drive")
    channel = found.channel("domain")
    assert channel.threshold == pytest.approx(channel.typical + RULE.margin * (5.0 - channel.typical))
    assert found.false_alarms_per_hour == pytest.approx(2 / 5 * 3600 / 59.9, rel=0.01)


def test_a_looser_budget_takes_a_lower_threshold() -> None:
    peaks = [float(i) for i in range(1, 40)]
    tight = calibrate(units(peaks), RULE, "drive")
    loose = calibrate(units(peaks), RULE, "drive", budget_per_hour=4 * tight.false_alarms_per_hour)
    assert loose.channel("domain").threshold < tight.channel("domain").threshold
    assert loose.false_alarms_per_hour <= 4 * tight.false_alarms_per_hour * (1 + 1e-9)


def test_an_unsupported_budget_is_refused_with_what_it_needs() -> None:
    with pytest.raises(CalibrationError, match=r"0\.1 false alarms per hour needs about 20 h.*support 24"):
        calibrate(units([1.0, 2.0, 3.0, 4.0]), RULE, "drive", budget_per_hour=0.1)


def test_checks_of_health_stand_higher_where_normal_footage_came_near_them() -> None:
    plain = units([1.0, 5.0, 3.0, 2.0])
    heard = [
        msgspec.structs.replace(u, health=h)
        for u, h in zip(plain, ({"swing": 0.9}, {"swing": 0.3, "dots": 0.2}, {}, {"swing": 0.5}), strict=True)
    ]
    found, before = calibrate(heard, RULE, "drive"), calibrate(plain, RULE, "drive")
    assert found.health == {"swing": pytest.approx(0.9 * RULE.margin)}
    assert before.health == {}
    # One more alarm in one more unit is to be reckoned with, however many checks there are.
    extra = found.false_alarms_per_hour - before.false_alarms_per_hour
    assert extra == pytest.approx(1 / 5 * 3600 / 59.9, rel=0.01)
    # A unit that the others' limits would have called faulty counts as well.
    odd = [msgspec.structs.replace(heard[0], health={"swing": 1.4}), *heard[1:]]
    louder = calibrate(odd, RULE, "drive")
    assert louder.health["swing"] == pytest.approx(2.1)
    assert louder.false_alarms_per_hour > found.false_alarms_per_hour
    assert calibration_without(louder, {0}).health == {}


def test_too_few_units_are_refused() -> None:
    with pytest.raises(CalibrationError, match="at least 3 held-out drives"):
        calibrate(units([1.0, 2.0]), RULE, "drive")


def test_a_unit_too_short_to_speak_does_not_count() -> None:
    times = np.arange(0, 1, 0.1)
    short = held_out(9, times, {"domain": np.full(10, 99.0), "departure": np.full(10, np.nan)}, RULE)
    assert short.peak == {"domain": -math.inf, "departure": -math.inf}
    assert calibrate([*units([1.0, 2.0, 3.0]), short], RULE, "drive") == calibrate(
        units([1.0, 2.0, 3.0]), RULE, "drive"
    )


@pytest.mark.parametrize("times_looser", [None, 4.0], ids=["tightest", "budget"])
def test_a_calibration_without_a_drive_is_that_of_the_other_drives(times_looser: float | None) -> None:
    everything = units([float(i) for i in range(1, 40)])
    tight = calibrate(everything, RULE, "drive")
    budget = None if times_looser is None else times_looser * tight.false_alarms_per_hour
    whole = calibrate(everything, RULE, "drive", budget)
    less = calibration_without(whole, {38})
    assert less.units == 38
    assert less.allowed == whole.allowed
    assert {u.drive for u in less.held_out} == set(range(38))
    direct = calibrate(everything[:38], RULE, "drive", None if budget is None else less.false_alarms_per_hour)
    assert less == direct
    assert calibration_without(whole, set()) == whole


def test_a_calibration_without_nearly_every_drive_is_refused() -> None:
    whole = calibrate(units([1.0, 2.0, 3.0, 4.0]), RULE, "drive")
    with pytest.raises(CalibrationError, match="at least 3 held-out drives"):
        calibration_without(whole, {0, 1})


def test_channels_hardly_depend_on_the_frame_rate() -> None:
    levels = []
    for fps in (10, 30):
        times = np.arange(0, 40, 1 / fps)
        latent = np.stack([np.where(times > 20, 4.0, 0.0), np.zeros_like(times)], 1)
        surprise = np.where(times > 20, 50.0, 10.0)
        damage = np.where(times > 20, 9.0, 2.0)
        found = run_channels(list(times), surprise, latent, damage, WITHIN, RULE)
        levels.append([np.interp([5, 21, 23, 39], times, found[name]) for name in CHANNELS])
    np.testing.assert_allclose(levels[0], levels[1], rtol=0.08, atol=0.05)


def test_a_skipped_frame_leaves_no_trace() -> None:
    channels = Channels(RULE, WITHIN)
    for i in range(100):
        before = channels.update(i / FPS, 10.0, np.zeros(2))
    assert channels.skip(10.0) == before
    assert channels.update(10.1, 10.0, np.zeros(2)) == before

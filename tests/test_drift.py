"""Drift: what has moved for good is proposed once, and hardly ever anything else."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate_drift import calibrated, proposals
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.decision import Calibration, Levels
from engines.footage import rgb_frame
from engines.health.fault import Fault
from engines.rendered import Segment, render
from monitor.alerts import Model, decode, encode, proposal_alert
from monitor.drift import LEAST_S, WINDOW_S, Drift, Proposal
from monitor.pipeline import Stream, watch
from monitor.rules import Rules


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrated(np.random.default_rng(5), 5.0, 0.3)


def run(calibration: Calibration, shares: np.ndarray, quiet: np.ndarray | None = None) -> list[Proposal]:
    """Feed a level a second, in shares of the way to the threshold, with a little noise."""
    channel, drift = calibration.channel("domain"), Drift("front", calibration, {"domain": "nats"})
    noise = np.random.default_rng(0).normal(size=len(shares)) * 0.1
    told = []
    for n, share in enumerate(shares + noise):
        level = channel.typical + share * (channel.threshold - channel.typical)
        still = quiet is None or bool(quiet[n])
        told.append(drift.update(float(n), Levels(level, math.nan, math.nan), quiet=still))
    return [proposal for proposal in told if proposal is not None]


def hours(*parts: tuple[float, float]) -> np.ndarray:
    """Minutes and shares, one after another, in seconds."""
    return np.concatenate([np.full(int(60 * minutes), share) for minutes, share in parts])


def test_hours_like_the_calibration_propose_nothing() -> None:
    rng = np.random.default_rng(3)
    assert sum(len(proposals(rng, 15.0, correlation_s, 0.5)) for correlation_s in (1.0, 30.0)) == 0


def test_a_slow_rise_is_proposed_once_with_its_figures(calibration: Calibration) -> None:
    ramp = np.clip(np.arange(3 * 3600) / 3600.0, 0.0, 1.0) * 0.7
    (told,) = run(calibration, ramp)
    channel = calibration.channel("domain")
    assert (told.stream, told.number, told.channel, told.unit) == ("front", 1, "domain", "nats")
    assert told.quiet_s == WINDOW_S
    assert told.time_s - told.since_s == pytest.approx(WINDOW_S, abs=10.0)
    assert told.share == pytest.approx((told.level - told.typical) / (told.threshold - told.typical))
    assert 0.5 < told.share <= 0.72
    assert (told.typical, told.threshold) == (channel.typical, channel.threshold)
    line = told.line("highway.bundle")
    assert "drift: domain has stood at" in line
    assert "over 60 quiet minutes" in line
    assert line.endswith("sightline calibrate highway.bundle --normal RECORDING --out highway-moved.bundle")


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        pytest.param(hours((180, 0.3)), 0, id="a-little"),
        pytest.param(hours((60, 0.0), (18, 0.9), (60, 0.0)), 0, id="one-rare-scene"),
        pytest.param(hours((LEAST_S / 60 - 1, 0.8)), 0, id="too-little-footage"),
        pytest.param(hours((LEAST_S / 60 + 1, 0.8)), 1, id="enough"),
        pytest.param(hours((300, 0.8)), 1, id="once"),
        pytest.param(hours((90, 0.8), (90, 0.0), (90, 0.8)), 2, id="again-after-it-came-back"),
    ],
)
def test_what_is_lasting(calibration: Calibration, shares: np.ndarray, expected: int) -> None:
    assert len(run(calibration, shares)) == expected


def test_a_level_that_fell_is_proposed_too(calibration: Calibration) -> None:
    (told,) = run(calibration, hours((90, -0.9)))
    assert told.share < -0.5
    assert "further from an alarm" in told.line("x")


def test_what_an_event_says_never_enters(calibration: Calibration) -> None:
    shares = hours((120, 0.9))
    assert run(calibration, shares, quiet=np.zeros(len(shares), bool)) == []
    now_and_then = np.arange(len(shares)) % 10 != 3
    assert run(calibration, shares, quiet=now_and_then) == []


def test_blocks_of_hardly_a_frame_say_nothing(calibration: Calibration) -> None:
    channel, drift = calibration.channel("domain"), Drift("front", calibration)
    levels = Levels(channel.threshold * 0.9, math.nan, math.nan)
    assert not any(drift.update(4.0 * n, levels, quiet=True) for n in range(3000))


def test_nothing_that_is_no_number_moves_anything(calibration: Calibration) -> None:
    drift = Drift("front", calibration)
    assert not any(drift.update(float(n), Levels(*3 * [math.nan]), quiet=True) for n in range(5000))


def test_a_mist_that_comes_slowly_is_proposed_at_any_chunking(
    rendered_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With seconds for minutes, since rendering takes its time; corruption cries in mist, which is no matter of this."""
    calm = Rules(silenced=frozenset({Fault.CORRUPTED}))
    monkeypatch.setattr("monitor.pipeline.Drift", partial(Drift, window_s=18.0, least_s=12.0, block_s=1.0))
    images = [image for _, _, image in render((Segment("highway", 50.0),), 8, (320, 180), 10.0)]
    rising = np.clip(np.arange(len(images)) / 200.0, 0.0, 1.0)
    bundle = open_bundle(rendered_bundle)
    engine = OnnxRuntimeEngine(bundle.model_path)

    def told(thickest: float, batch: int) -> list[Proposal]:
        frames = (
            rgb_frame(
                (image * (1.0 - mist) + 200.0 * mist).astype(np.uint8), "x", n, n / 10.0, engine.input_size
            )
            for n, (image, mist) in enumerate(zip(images, thickest * rising, strict=True))
        )
        watched = watch(frames, engine, Stream("x", bundle, rules=calm), batch)
        return [w.proposal for w in watched if w.proposal is not None]

    assert told(0.0, 16) == []
    misty = told(0.5, 16)
    assert "departure" in {p.channel for p in misty}
    assert told(0.5, 1) == misty


def test_a_proposal_is_one_alert_of_its_own_kind(calibration: Calibration) -> None:
    (told,) = run(calibration, hours((90, 0.8)))
    ready = proposal_alert(told, "road.bundle", source="s", session="1", model=Model("road", "0" * 64))
    assert decode(encode(ready)) == ready
    data = ready.data
    assert (data.kind, data.phase, data.level, data.mode) == ("drift", "notice", "INFO", "")
    assert (data.event_id, ready.id) == ("1/front/drift-1", "1/front/drift-1/notice")
    assert "sightline calibrate road.bundle" in data.advice

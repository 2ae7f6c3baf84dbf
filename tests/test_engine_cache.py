"""Compiled engines and reports beside the bundle: what does not fit is built again, and what nobody verified is verified."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

import engines.cache
from engines import machine
from engines.backends import backend_of, library_of
from engines.bundle import Bundle, open_bundle
from engines.cache import Check, EngineCache, Report
from engines.compiling.compile import compiled
from engines.engine import Precision
from engines.errors import OutputError
from engines.opening import load, open_engine, verified

CPU = ["onnxruntime", "openvino"]
FP32 = Precision.FP32


def quiet(line: str) -> None:
    """Nobody is told."""


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy with a cache of its own."""
    return open_bundle(shutil.copytree(small_bundle, tmp_path / "small.bundle"))


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 48, 64, 3)).astype(np.uint8)


def engine_file(bundle: Bundle) -> Path:
    return EngineCache.beside(bundle).folder / "openvino-fp32.engine"


def change_key(bundle: Bundle, **changes: str) -> None:
    """Make the cached engine that of another machine or graph."""
    record = EngineCache.beside(bundle).folder / "openvino-fp32.json"
    entry = json.loads(record.read_text())
    entry["key"] |= changes
    record.write_text(json.dumps(entry))


def damage(bundle: Bundle) -> None:
    content = bytearray(engine_file(bundle).read_bytes())
    content[len(content) // 2] ^= 255
    engine_file(bundle).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damage, "is damaged"),
        (lambda b: engine_file(b).write_bytes(engine_file(b).read_bytes()[:1000]), "is damaged"),
        (lambda b: change_key(b, target="another processor"), "is for another processor, this is"),
        (lambda b: change_key(b, library="1.0"), "is of version 1.0 of the library, this is"),
        (lambda b: change_key(b, graph="0" * 64), "is of another graph"),
        (lambda b: change_key(b, sightline="0.0.1"), "is of version 0.0.1 of sightline"),
    ],
    ids=["a byte", "truncated", "another processor", "another version", "another graph", "older sightline"],
)
def test_a_cached_engine_that_does_not_fit_is_built_again_and_said_so(
    spoil: object, words: str, bundle: Bundle
) -> None:
    images = bundle.probes().frames
    scores = open_engine(bundle, "openvino").score(images)
    spoil(bundle)  # type: ignore[operator]
    said: list[str] = []
    again = open_engine(bundle, "openvino", say=said.append)
    assert [line for line in said if words in line] == said
    assert len(said) == 1
    np.testing.assert_array_equal(again.score(images).surprise, scores.surprise)
    said.clear()
    open_engine(bundle, "openvino", say=said.append)
    assert said == []


def test_a_record_that_cannot_be_read_is_no_record(bundle: Bundle) -> None:
    open_engine(bundle, "openvino")
    for file in EngineCache.beside(bundle).folder.glob("*.json"):
        file.write_text('{"key": 3')
    assert np.isfinite(open_engine(bundle, "openvino").score(frames(2)).surprise).all()


def test_a_cache_that_cannot_be_written_is_done_without(bundle: Bundle) -> None:
    EngineCache.beside(bundle).folder.write_text("a file where the folder should be")
    said: list[str] = []
    engine = open_engine(bundle, "openvino", say=said.append)
    assert np.isfinite(engine.score(frames(2)).surprise).all()
    assert [line.partition(":")[0] for line in said] == [
        "the engine cannot be kept",
        "the verification cannot be remembered",
    ]


def test_the_bundle_itself_is_never_touched(bundle: Bundle) -> None:
    before = {file: file.read_bytes() for file in bundle.path.rglob("*") if file.is_file()}
    for name in CPU:
        open_engine(bundle, name)
    assert {file: file.read_bytes() for file in bundle.path.rglob("*") if file.is_file()} == before
    assert not list(bundle.path.parent.glob(".*"))


def test_compile_keeps_what_it_built_and_builds_again_only_if_told(bundle: Bundle) -> None:
    backend, cache = backend_of("openvino"), EngineCache.beside(bundle)
    library = library_of(backend, cache.folder)
    assert compiled(bundle, backend, FP32, library, quiet).fresh
    assert not compiled(bundle, backend, FP32, library, quiet).fresh
    assert compiled(bundle, backend, FP32, library, quiet, again=True).fresh


def test_a_verification_of_another_calibration_does_not_count(bundle: Bundle) -> None:
    opened = load(bundle, backend_of("onnxruntime"), FP32, quiet)
    report = verified(bundle, opened, quiet)
    assert load(bundle, backend_of("onnxruntime"), FP32, quiet).report == report
    EngineCache.beside(bundle).record(
        opened.key, opened.sha256, msgspec.structs.replace(report, bundle="0" * 64)
    )
    assert load(bundle, backend_of("onnxruntime"), FP32, quiet).report is None


def test_what_could_not_be_kept_is_verified_each_time(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report on record is of the engine that was damaged, not of the one that was built in its place."""
    open_engine(bundle, "openvino")
    damage(bundle)

    def full(path: Path, data: bytes) -> None:
        raise OutputError(path, "must be writable: No space left on device", "free some")

    monkeypatch.setattr(engines.cache, "write_whole", full)
    for _ in range(2):
        opened = load(bundle, backend_of("openvino"), FP32, quiet)
        assert opened.report is None
        opened.engine.close()


def test_a_report_is_kept_only_beside_the_engine_it_is_about(bundle: Bundle) -> None:
    """Another process may have built one meanwhile, and no two builds need be alike."""
    opened = load(bundle, backend_of("openvino"), FP32, quiet)
    report = Report(bundle.sha256, "openvino", "fp32", (Check("a", "1", "≤ 2", True),))
    cache = EngineCache.beside(bundle)
    cache.record(opened.key, "of another", report)
    assert load(bundle, backend_of("openvino"), FP32, quiet).report is None
    cache.record(opened.key, opened.sha256, report)
    assert load(bundle, backend_of("openvino"), FP32, quiet).report == report


@pytest.mark.parametrize(
    ("text", "name", "saturates"),
    [
        (
            "model name\t: EPYC\nflags\t\t: fpu avx2 avx512f avx512_vnni",
            "EPYC, {}, avx2 avx512f avx512_vnni",
            False,
        ),
        ("model name\t: EPYC\nflags\t\t: fpu avx2", "EPYC, {}, avx2", True),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp bf16", "{}, asimddp bf16", False),
    ],
    ids=["with VNNI", "without", "Arm"],
)
def test_processors_of_one_name_are_told_apart(
    text: str, name: str, saturates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was compiled and verified on one with VNNI saturates on one without."""
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    cores = machine.processor().split(", ")[1]
    assert machine.processor().endswith(name.format(cores))
    assert machine.sums_saturate() == saturates

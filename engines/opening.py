"""Open the engine of a bundle: the one asked for or the fastest, compiled, and proven equal to the reference."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from engines.backends import AUTO, Backend, backend_of, check_precision, installed, library_of
from engines.bundle import Bundle
from engines.cache import Choice, EngineCache, Key, Report
from engines.compiling.compile import Say, compiled
from engines.engine import Engine, Precision
from engines.errors import EngineError, OutputError
from engines.frames import Image
from engines.machine import identity
from engines.proof.verify import Reference, reference_of, verify_engine

TRIED_BATCH, TRIED_S = 16, 0.5
CLEARLY_FASTER = 1.1
"""Another backend has to be this much faster than ONNX Runtime to be taken: less is noise."""
FIRST = "onnxruntime"


def open_engine(
    bundle: Bundle,
    backend: str = AUTO,
    precision: Precision = Precision.FP32,
    *,
    unverified: bool = False,
    say: Say = lambda line: None,
) -> Engine:
    """Return the engine of a bundle that ``backend`` runs.

    ``auto`` takes the fastest verified one of this machine. An engine that was not verified is verified now, and one that
    fails raises EngineError, unless ``unverified``. ``say`` is told in one line what was chosen and why, and when
    something had to be built. What cannot be opened raises EngineError."""
    if backend != AUTO:
        return _open(bundle, backend_of(backend), precision, unverified, say)
    choice = _remembered(bundle, precision)
    if choice is None:
        choice = _choose(bundle, precision, unverified, say)
    say(f"engine {choice.backend} {precision}: {choice.reason}")
    return _open(bundle, backend_of(choice.backend), precision, unverified, say)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An engine ready to run, its key and its content's sha256, and the report of its verification (None where that was not
    wanted)."""

    engine: Engine
    key: Key
    sha256: str
    report: Report | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """An engine to verify or to time."""

    backend: Backend
    precision: Precision


def wanted(bundle: Bundle, backend: str | None, precision: Precision | None, *, every: bool) -> list[Wanted]:
    """The engines that a command is to look at: of one backend or of all that are here, in one precision or in fp32 and
    all that were compiled; with ``every`` in all that there are. None at all raises EngineError."""
    known = [backend_of(backend)] if backend is not None else [backend_of(name) for name in installed()]
    kept = EngineCache.beside(bundle)
    chosen = []
    for one in known:
        there = {Precision.FP32, *one.precisions} if every else {Precision.FP32, *kept.precisions(one.name)}
        asked = {precision} if precision is not None else there
        if backend is not None and precision is not None:
            check_precision(one, precision)
        chosen += [Wanted(one, kind) for kind in one.precisions if kind in asked]
    if not chosen:
        raise EngineError(
            "engines",
            f"must be some that compute in {precision}; no backend here does",
            "install one: docs/engines.md",
        )
    return chosen


def load(bundle: Bundle, backend: Backend, precision: Precision, say: Say) -> Opened:
    """Open an engine without a word on whether it is right; its report, if it has been verified before."""
    check_precision(backend, precision)
    kept = EngineCache.beside(bundle)
    library = library_of(backend, kept.folder)
    done = compiled(bundle, backend, precision, library, say)
    entry = kept.entry(done.key)
    # What could not be kept is not what the report is about.
    report = entry.report if entry is not None and entry.sha256 == done.sha256 else None
    if report is not None and report.bundle != bundle.sha256:
        report = None
    return Opened(library.load(done.built, precision), done.key, done.sha256, report)


def ready(bundle: Bundle, one: Wanted, say: Say) -> None:
    """Have an engine's library imported and its file in the cache, so that loading it takes no longer than it must."""
    library = library_of(one.backend, EngineCache.beside(bundle).folder)
    compiled(bundle, one.backend, one.precision, library, say)


def verified(bundle: Bundle, opened: Opened, say: Say, reference: Reference | None = None) -> Report:
    """Verify an engine now, and remember the report."""
    report = verify_engine(opened.engine, bundle, reference)
    try:
        EngineCache.beside(bundle).record(opened.key, opened.sha256, report)
    except OutputError as error:
        say(f"the verification cannot be remembered: {error}")
    return report


def _open(
    bundle: Bundle,
    backend: Backend,
    precision: Precision,
    unverified: bool,
    say: Say,
    reference: Callable[[], Reference | None] = lambda: None,
) -> Engine:
    opened = load(bundle, backend, precision, say)
    if unverified:
        return opened.engine
    report = opened.report or verified(bundle, opened, say, reference())
    if not report.passed:
        opened.engine.close()
        raise EngineError(
            f"{bundle.path}: {backend.name} {precision}",
            f"must equal the reference, fails {report.failed}",
            "use another backend or precision, or --unverified",
        )
    return opened.engine


def _remembered(bundle: Bundle, precision: Precision) -> Choice | None:
    """What was chosen before, if bundle, machine and libraries are still the same."""
    choice = EngineCache.beside(bundle).choice()
    wanted = (bundle.sha256, identity(), installed(), precision.value)
    if choice is None or (choice.bundle, choice.machine, choice.libraries, choice.precision) != wanted:
        return None
    return choice


def _choose(bundle: Bundle, precision: Precision, unverified: bool, say: Say) -> Choice:
    """Open, verify and time every backend that is here, and remember the fastest."""
    libraries = installed()
    names = [name for name in libraries if precision in backend_of(name).precisions]
    if not names:
        raise EngineError(
            f"backend {AUTO}",
            f"must find a library here that computes in {precision}",
            "install one: docs/engines.md",
        )
    if len(names) == 1:
        backend, reason = names[0], "the only backend here"
    else:
        backend, reason = _fastest(bundle, names, precision, unverified, say)
    choice = Choice(identity(), bundle.sha256, libraries, precision.value, backend, reason)
    if (
        unverified
    ):  # good for this once: nobody else may be given an engine that was not asked whether it is right
        return choice
    try:
        EngineCache.beside(bundle).choose(choice)
    except OutputError as error:
        say(f"the choice cannot be remembered: {error}")
    return choice


def _fastest(
    bundle: Bundle, names: list[str], precision: Precision, unverified: bool, say: Say
) -> tuple[str, str]:
    """The name of the fastest backend, and why."""
    engines: dict[str, Engine] = {}
    remarks = []
    reference = cache(lambda: reference_of(bundle))
    for name in names:
        try:
            engines[name] = _open(bundle, backend_of(name), precision, unverified, say, reference)
        except EngineError as error:
            remarks.append(f"{name} cannot be used: {error.problem}")
    if not engines:
        raise EngineError(
            f"backend {AUTO}", f"must find one that works: {'; '.join(remarks)}", "see docs/engines.md"
        )
    rates = frames_per_s(engines, bundle.probes().frames)
    best = max(rates, key=lambda name: rates[name])
    if FIRST in rates and rates[best] < CLEARLY_FASTER * rates[FIRST]:
        best = FIRST
    for engine in engines.values():
        engine.close()
    others = [
        f"{name} {rate:.0f}" + " (not clearly more)" * (rate > rates[best])
        for name, rate in rates.items()
        if name != best
    ]
    measured = ", ".join([f"{rates[best]:.0f} frames/s at batch {TRIED_BATCH}", *others])
    return best, "; ".join([measured, *remarks])


def frames_per_s(engines: dict[str, Engine], frames: Image) -> dict[str, float]:
    """Frames a second of each engine at its best of a few calls, taken in turns, so that noise meets all alike."""
    batch = np.resize(frames, (TRIED_BATCH, *frames.shape[1:]))
    best = dict.fromkeys(engines, np.inf)
    for engine in engines.values():
        engine.score(batch)
    until = time.perf_counter() + TRIED_S * len(engines)
    while time.perf_counter() < until or not all(np.isfinite(seconds) for seconds in best.values()):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine.score(batch)
            best[name] = min(best[name], time.perf_counter() - started)
    return {name: TRIED_BATCH / seconds for name, seconds in best.items()}

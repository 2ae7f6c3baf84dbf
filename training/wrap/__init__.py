"""Any ONNX image network as an encoder, proven to answer as the original does, and a bundle taught with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from engines.adapt import Answer, Kind, finished, fits, joined, with_outputs
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle, check_target
from engines.errors import EngineError, InputError
from engines.footage import Drive, Recording
from engines.frames import Image
from engines.grouped import grouped
from engines.network import FLOATING, OPSET, Network, converted, read_network, tensor_type
from engines.pixels import Layout, Pixels
from engines.scores import Features
from training.fit import DensityKind
from training.teach import Lesson, teach
from training.wrap.stated import answer, pixels, stated

PICTURES = ("a normal frame", "black", "white", "noise", "a normal frame upside down")
"""What the wrapped network must answer as the original does."""
CLOSE, CLOSE_HALF = 1e-3, 1e-2
"""Share of the largest answer by which two ways to the same answer may differ; the second for float16."""


@dataclass(frozen=True, slots=True, eq=False)
class Wrapped:
    """A network made an encoder.

    batch: how many frames go through it at once; None for any number."""

    name: str
    model: ModelProto
    pixels: Pixels
    answer: Answer
    batch: int | None


def wrap(path: Path, flags: Mapping[str, str], normal: Sequence[Drive]) -> Wrapped:
    """Read a network and make it an encoder of ``images`` uint8 N×H×W×3 RGB; ``flags`` states what its metadata does
    not, by the names of ``training.wrap.stated.FLAGS``. The first frame of ``normal`` is among the pictures that prove it.

    Raises InputError for what is not stated and EngineError for a network that cannot be used."""
    network = read_network(path)
    given = stated(network, flags)
    scored = given.values.get("as", Kind.EMBEDDING) != Kind.EMBEDDING
    given.require(
        "layout", "size", "order", "scale", "mean", "std", "output", "as", *(["higher-is"] * scored)
    )
    seen, wanted = pixels(network, given), answer(given)
    if wanted.kind == Kind.EMBEDDING and seen.layout == Layout.NHWC:
        _require_axis(network, wanted.output, "channels" in given.values)
    for name in filter(None, (wanted.output, wanted.heat)):
        if tensor_type(network, name) not in FLOATING | {TensorProto.UNDEFINED}:
            raise EngineError(
                f"{path}, output {name}", "must hold floating-point numbers", "name another output"
            )
    return _proven(network, seen, wanted, _pictures(normal, seen.size))


def _require_axis(network: Network, output: str, is_stated: bool) -> None:
    """A network whose pictures have their channels last has features of either kind."""
    flat = any(
        o.name == output and len(o.type.tensor_type.shape.dim) == 2 for o in network.model.graph.output
    )
    if not is_stated and not flat:
        raise InputError(
            f"{network.path}, output {output}", "must have a stated axis of channels, since the pictures have theirs last",
            "state --channels AXIS",
        )  # fmt: skip


def _pictures(normal: Sequence[Drive], size: tuple[int, int]) -> Image:
    first = next((frame.image for drive in normal for frame in Recording(drive, size)), None)
    if first is None:
        raise InputError(
            normal[0].path, "must hold a frame that can be read; it holds none", "check the footage"
        )
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    return np.stack([first, np.zeros_like(first), np.full_like(first, 255), noise, first[::-1]])


def _proven(network: Network, seen: Pixels, wanted: Answer, pictures: Image) -> Wrapped:
    """Free the batch if the answers stay the same, else run the network in groups of what it was exported for."""
    batch = network.batch or 1
    native = joined(network.model, seen, network.element_type, batch)
    raw = _answers(network, with_outputs(native, wanted), pictures, batch)
    late, heat = raw.late.shape[1:], () if raw.heat is None else raw.heat.shape[1:]
    _check_values(network, wanted, raw)
    truth = _answers(network, finished(native, wanted, late, heat, batch), pictures, batch)
    newer = converted(network)
    free = finished(joined(newer, seen, network.element_type, None), wanted, late, heat, None)
    if fits(free, len(pictures)) and _equal(network, free, pictures, truth):
        return Wrapped(network.path.stem, free, seen, wanted, None)
    fixed = finished(joined(newer, seen, network.element_type, batch), wanted, late, heat, batch)
    if _equal(network, grouped(fixed), pictures, truth):
        return Wrapped(network.path.stem, grouped(fixed), seen, wanted, batch)
    if batch == 1:
        raise EngineError(
            network.path,
            f"must answer the same when converted to opset {OPSET}, and does not",
            f"export it with opset {OPSET}",
        )
    raise EngineError(
        network.path, f"must answer for a frame whatever frames are beside it; exported for {batch} at once, it does not",
        "export it for one frame, or for any number",
    )  # fmt: skip


def _answers(network: Network, model: ModelProto, pictures: Image, batch: int) -> Features:
    """Answers for single pictures, each of which fills a whole batch alone."""
    engine = _engine(network, model)
    rows = [_run(network, engine, np.repeat(picture[None], batch, axis=0)) for picture in pictures]
    late = _firsts(network, "", [row.late for row in rows], batch)
    maps = [row.heat for row in rows if row.heat is not None]
    return Features(late, heat=_firsts(network, " with a heat map", maps, batch) if maps else None)


def _firsts(
    network: Network, what: str, answers: Sequence[NDArray[np.float32]], batch: int
) -> NDArray[np.float32]:
    """The first of each batch of answers."""
    answers = [np.atleast_1d(answer) for answer in answers]
    if any(len(answer) != batch for answer in answers):
        got = "×".join(map(str, answers[0].shape))
        raise EngineError(
            network.path,
            f"must answer once per frame{what}, got {got} for {batch} frames",
            "name another output",
        )
    return np.concatenate([answer[:1] for answer in answers])


def _engine(network: Network, model: ModelProto) -> OnnxRuntimeEngine:
    try:
        return OnnxRuntimeEngine(model.SerializeToString())
    except EngineError as error:
        raise EngineError(network.path, error.problem, "check the model") from error


def _run(network: Network, engine: OnnxRuntimeEngine, images: Image) -> Features:
    try:
        return engine.features(images)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise EngineError(
            network.path, f"must run on {len(images)} pictures at once: {reason}", "check the model"
        ) from error


def _check_values(network: Network, wanted: Answer, raw: Features) -> None:
    for name, values in ((wanted.output, raw.late), (wanted.heat, raw.heat)):
        if values is None:
            continue
        for picture, value in zip(PICTURES, values, strict=True):
            if not np.isfinite(value).all():
                raise EngineError(
                    f"{network.path}, output {name}", f"must be finite, but is not for {picture}",
                    "a score that can be lost tells nothing; correct the network",
                )  # fmt: skip
    low, high = float(raw.late.min()), float(raw.late.max())
    if wanted.kind == Kind.PROBABILITY and not (low >= -1e-6 and high <= 1 + 1e-6):
        raise EngineError(
            f"{network.path}, output {wanted.output}", f"must lie between 0 and 1 to be a probability, got {low:g} to {high:g}",
            "state --as score",
        )  # fmt: skip


def _equal(network: Network, model: ModelProto, pictures: Image, truth: Features) -> bool:
    """Whether the model gives the true answers to all pictures at once and to all but the first; False where it does
    not run."""
    try:
        engine = _engine(network, model)
        whole, rest = _run(network, engine, pictures), _run(network, engine, pictures[1:])
    except EngineError:
        return False
    half = any(i.data_type == TensorProto.FLOAT16 for i in network.model.graph.initializer)
    return all(
        want is None or _share(got, want[first:]) <= (CLOSE_HALF if half else CLOSE)
        for first, part in ((0, whole), (1, rest))
        for got, want in ((part.late, truth.late), (part.heat, truth.heat))
    )


def _share(got: NDArray[np.floating] | None, want: NDArray[np.floating]) -> float:
    """The largest difference as a share of the largest value."""
    if got is None or got.shape != want.shape:
        return np.inf
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-6))


def teach_wrapped(
    out: Path, wrapped: Wrapped, normal: Sequence[Drive], other: Sequence[Drive], lesson: Lesson
) -> tuple[Bundle, tuple[str, ...]]:
    """Teach a bundle with a wrapped network; returns it with what its user should know. ``lesson.density`` must be
    DIRECT for a score, and is made so."""
    scored = wrapped.answer.kind != Kind.EMBEDDING
    if scored and other:
        raise InputError("--other", "widens a density's background, and a score has none", "leave it out")
    if not scored and lesson.density == DensityKind.DIRECT:
        raise InputError("--density direct", "is for a score, and this is an embedding", "choose another")
    check_target(out)
    chosen = replace(lesson, density=DensityKind.DIRECT) if scored else lesson
    bundle, _ = teach(out, (wrapped.name, wrapped.model, None), normal, other, chosen)
    return bundle, _warnings(bundle, wrapped.answer.kind) if scored else ()


def _warnings(bundle: Bundle, kind: Kind) -> tuple[str, ...]:
    """A score that ends where its threshold is, or below, can never raise an alarm."""
    highest = float(bundle.probes().scores.surprise.max())
    threshold = bundle.calibration.channel("domain").threshold
    if highest > threshold:
        return ()
    advice = {
        Kind.SCORE: "a score that is clipped to 0…1 needs --as probability, or an output before the clip",
        Kind.PROBABILITY: "normal footage comes to the end of this one; take an output before it is clipped (--output), or export the "
        "network without normalisation",
    }
    return (
        f"even black, white and noise score at most {highest:.3g}, and the alarm is above {threshold:.3g}: {advice[kind]}",
    )

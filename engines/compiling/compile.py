"""From a bundle to what a library runs: the graph in the precision asked for, compiled, kept in the bundle's cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from engines import __version__
from engines.backends import Backend
from engines.backends.onnx_runtime import values
from engines.bundle import Bundle
from engines.cache import EngineCache, Key, key_of, sha256_of
from engines.compiling.half import halved
from engines.compiling.quantise import HALF, WHOLE, layers_of, quantise
from engines.compiling.refit import refitted
from engines.console import progress
from engines.engine import Engine, Library, Precision
from engines.errors import EngineError, OutputError
from engines.frames import Image
from engines.graph import encoder_of, fuse, load_graph
from engines.grouped import one_group
from engines.machine import sums_saturate
from engines.proof.probe_clip import alerts, alike, probe_clips
from engines.proof.verify import LEAST_RANK, RANKED, TIE, rank_correlation
from engines.scores import Features, Scores, part, reference_scores

SPARE = 0.4
"""Of what verification lets a rank correlation lack, quantising uses this share at most: it is judged by other
pictures."""
FEWEST_CALIBRATED, MOST_CALIBRATED = 8, 48

Say = Callable[[str], None]
"""Told what happens, a line at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """An engine file's content and key. notes: what building it had to say. fresh: whether it was built just now. sha256: of
    the content, empty where that is the bundle's own graph."""

    key: Key
    built: bytes
    notes: tuple[str, ...]
    fresh: bool
    sha256: str = ""


def key_for(bundle: Bundle, backend: Backend, precision: Precision, library: Library) -> Key:
    """The key of the engine that this machine needs."""
    return key_of(bundle, backend.name, precision, library.version(), library.target(), __version__)


def compiled(
    bundle: Bundle, backend: Backend, precision: Precision, library: Library, say: Say, *, again: bool = False
) -> Compiled:
    """Return the engine from the bundle's cache, or build it and keep it there; ``again`` builds in any case.

    Says in one line why an engine that is there cannot be used. A cache that cannot be written is no error: the engine
    is built each time."""
    key = key_for(bundle, backend, precision, library)
    if backend.as_is and precision == Precision.FP32:
        return Compiled(key, bundle.model_path.read_bytes(), (), fresh=False)
    cache = EngineCache.beside(bundle)
    found, wrong = cache.engine(key)
    if found is not None and not again:
        entry = cache.entry(key)
        notes = entry.notes if entry is not None else ()
        return Compiled(key, found, notes, fresh=False, sha256=sha256_of(found))
    if wrong and not again:
        say(f"the cached {backend.name} {precision} engine {wrong}: building it again")
    graph, notes = graph_for(bundle, backend, precision)
    built = library.build(graph, precision)
    if precision == Precision.BF16 and not backend.gpu:
        built = _refitted_through(library.load(built, precision), bundle, backend, library)
    try:
        cache.store(key, built, notes)
    except OutputError as error:
        say(f"the engine cannot be kept: {error}")
    return Compiled(key, built, notes, fresh=True, sha256=sha256_of(built))


def graph_for(
    bundle: Bundle, backend: Backend, precision: Precision
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The fused graph for a backend: the encoder in ``precision``, everything behind it in the widest float that the
    library knows; and what there is to say of it."""
    encoder = encoder_of(load_graph(bundle.model_path))
    notes: tuple[str, ...] = ()
    if precision == Precision.INT8:
        encoder, notes = _quantised(bundle, encoder, backend)
    elif not backend.loops:
        encoder = one_group(encoder)
    if precision == Precision.FP16 or (precision == Precision.BF16 and backend.gpu):
        encoder = halved(encoder, precision)
    return fuse(encoder, bundle.density, np.dtype(backend.tail).type), notes


def _refitted_through(engine: Engine, bundle: Bundle, backend: Backend, library: Library) -> bytes:
    """Build an engine again with what is behind its encoder refitted through the encoder as the library runs it; as it was
    where the bundle has too few pictures to learn that from."""
    encoder = encoder_of(load_graph(bundle.model_path))
    frames = _calibrating(bundle)
    names = [output.name for output in encoder.graph.output if output.name in ("late", "early")]
    if len(frames) >= FEWEST_CALIBRATED:
        features = engine.features(frames)
        found = {name: getattr(features, name) for name in names}
        encoder = refitted(encoder, found, values(encoder, names, frames), apart=True)
    engine.close()
    return library.build(fuse(encoder, bundle.density, np.dtype(backend.tail).type), engine.precision)


def _calibrating(bundle: Bundle) -> Image:
    """The pictures of normal footage that encoders in fewer bits are fitted by."""
    frames, _ = bundle.normal_pictures()
    return frames[:: max(1, -(-len(frames) // MOST_CALIBRATED))]


def _quantised(
    bundle: Bundle, encoder: onnx.ModelProto, backend: Backend
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    frames = _calibrating(bundle)
    if len(frames) < FEWEST_CALIBRATED:
        raise EngineError(
            f"{bundle.path} int8",
            f"needs at least {FEWEST_CALIBRATED} pictures of normal footage in the bundle, got {len(frames)}",
            "teach it from more footage",
        )
    agrees = _agreement(bundle, encoder, frames)
    layers = len(layers_of(encoder))
    most = HALF if backend.saturates and sums_saturate() else WHOLE
    with progress("quantising", layers, "layers") as advance:
        done = quantise(
            encoder, frames, values, agrees, unsigned=backend.unsigned, advance=advance, most=most
        )
    kept = f", float32 in {', '.join(done.floats)}" if done.floats else ""
    return done.model, (f"{done.layers - len(done.floats)} of {done.layers} layers in int8{kept}",)


def _agreement(bundle: Bundle, encoder: onnx.ModelProto, frames: Image) -> Callable[[onnx.ModelProto], bool]:
    """A function that says whether another encoder ranks pictures as ``encoder`` does, and raises the same alerts: on
    pictures that verification does not use, since what is chosen by its pictures could not be judged by them."""
    clips = probe_clips(bundle, mirrored=True)
    turned = frames[:, ::-1].astype(np.float32)
    halfway = np.rint(0.5 * (turned + frames)).astype(np.uint8)
    shown = np.concatenate([frames[:, :, ::-1], frames[:, ::-1], halfway, clips.pictures])
    ranked = slice(0, len(shown) - len(clips.pictures))
    filmed = slice(len(shown) - len(clips.pictures), None)
    names = [output.name for output in encoder.graph.output]
    least = 1.0 - SPARE * (1.0 - LEAST_RANK[Precision.INT8])

    def scores(model: onnx.ModelProto) -> Scores:
        return reference_scores(bundle.density, Features(**values(model, names, shown)))

    wanted = scores(encoder)
    told = alerts(clips, part(wanted, filmed), bundle)

    def agrees(model: onnx.ModelProto) -> bool:
        found = scores(model)
        ranks = [
            rank_correlation(getattr(found, name)[ranked], getattr(wanted, name)[ranked])
            for name in RANKED
            if np.ptp(getattr(wanted, name)[ranked]) > TIE
        ]
        return min(ranks, default=1.0) >= least and alike(alerts(clips, part(found, filmed), bundle), told)

    return agrees

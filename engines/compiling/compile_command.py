"""``sightline compile``: from a bundle to an engine for this machine, or for GPUs that are elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from engines.backends import BACKENDS, backend_of, check_precision, library_of
from engines.bundle import open_bundle
from engines.cache import EngineCache
from engines.compiling.compile import compiled
from engines.console import console
from engines.engine import Precision
from engines.errors import OutputError


def compile_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle to compile.")],
    target: Annotated[str, typer.Option(help=f"The backend to compile for: {', '.join(BACKENDS)}.")],
    precision: Annotated[
        Precision, typer.Option(help="Of the encoder; everything behind it stays float32 or wider.")
    ] = Precision.FP32,
    again: Annotated[
        bool, typer.Option("--again", help="Build even where the cache has the engine.")
    ] = False,
) -> None:
    """Compile a bundle and keep the engine in the cache beside it.

    The engine is for this bundle, this version of the library and this processor or GPU; where one of them changes, it is
    built again without being asked. tensorrt-rtx needs no GPU to build. Example:

        sightline compile highway.bundle --target openvino
    """
    backend = backend_of(target)
    check_precision(backend, precision)
    opened = open_bundle(bundle)
    cache, say = EngineCache.beside(opened), console()
    library = library_of(backend, cache.make())
    started_s = time.monotonic()
    done = compiled(opened, backend, precision, library, say.print, again=again)
    name = f"{target} {precision}"
    if backend.as_is and precision == Precision.FP32:
        say.print(f"{name} runs the bundle's own graph: there is nothing to compile")
        return
    entry = cache.entry(done.key)
    if entry is None or entry.sha256 != done.sha256:
        raise OutputError(
            cache.engine_file(done.key), "must hold the engine, which could not be kept", "free space"
        )
    how = f"in {time.monotonic() - started_s:.1f} s" if done.fresh else "was there already"
    say.print(f"[bold]compiled[/]  {name} {how}, {len(done.built) / 1e6:.1f} MB, for {done.key.target}")
    for note in done.notes:
        say.print(f"          {note}")
    say.print(f"[bold]kept[/]      {cache.engine_file(done.key)}")

"""Every model × density on the driving suite and on MVTec's bottle, as docs/results.md, made by one command.

    python -m training.leaderboard --data DRIVING --mvtec BOTTLE --weights WEIGHTS --cache FOLDER --out docs/results.md

``--only NAME …`` measures those models anew and takes the others from ``--cache``, where features are kept by the sha256 of
their encoder. The page's last section is ``benchmarks/onboarding.py``'s and stays. The page's verdicts on what was to be
reached are generated from its figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engines.console import progress
from engines.errors import InputError, did_you_mean
from engines.whole_file import write_whole
from training.leaderboard.cost import THREADS, cost
from training.leaderboard.figures import Bottle, Cost, Entry, Heat
from training.leaderboard.footage import Filmed, encoded, film
from training.leaderboard.heat import heat, plain
from training.leaderboard.models import Model, Places, makers
from training.leaderboard.page import Board, onboarding, page, with_onboarding
from training.leaderboard.rows import baselines, bottles, entries

FRAMES, EPOCHS = 16, 24
BASELINES = "baselines"


class Measured(msgspec.Struct, frozen=True):
    """Everything of one model, as it is kept in the cache."""

    entries: list[Entry]
    bottles: list[Bottle]
    heats: list[Heat]
    cost: Cost | None


def measure(model: Model, filmed: Sequence[Filmed], options: argparse.Namespace) -> Measured:
    """All that the page says of one model."""
    looked = encoded(model, filmed, options.cache)
    return Measured(
        entries(model, looked),
        bottles(model, options.mvtec, options.cache),
        [heat(model, options.mvtec)],
        cost(model.graph),
    )


def measured(options: argparse.Namespace) -> dict[str, Measured]:
    """Measure what ``--only`` names, all by default; take the rest from the cache where it is."""
    known = makers(places(options))
    wanted = [*known, BASELINES] if options.only is None else options.only
    for name in wanted:
        if name not in (*known, BASELINES):
            raise InputError(
                f"--only {name}",
                f"must be one of {', '.join(known)}, {BASELINES}",
                did_you_mean(name, known),
            )
    filmed = film(options.data, options.cache, options.frames_per_drive) if wanted else []
    found = {}
    with progress("judging", len(wanted), "models") as advance:
        for name in (*known, BASELINES):
            path = options.cache / "results" / f"{name}.json"
            if name in wanted:
                if name == BASELINES:
                    result = Measured(baselines(filmed), [], [plain(options.mvtec)], None)
                else:
                    result = measure(known[name](), filmed, options)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, msgspec.json.encode(result))
                advance(1, name)
            if path.is_file():
                found[name] = msgspec.json.decode(path.read_bytes(), type=Measured)
    return found


def places(options: argparse.Namespace) -> Places:
    return Places(options.weights, options.data, options.mvtec, options.cache, options.epochs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("--data", "--mvtec", "--weights", "--cache", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument(
        "--only",
        nargs="*",
        help="models to measure anew, or baselines; with no name, write the page from the cache",
    )
    parser.add_argument("--frames-per-drive", type=int, default=FRAMES)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of autoencoder, vae and lake")
    options = parser.parse_args(arguments)
    found = measured(options)
    board = Board(
        [e for m in found.values() for e in m.entries],
        [b for m in found.values() for b in m.bottles],
        [h for m in found.values() for h in m.heats],
        {name: m.cost for name, m in found.items() if m.cost is not None},
        frames=options.frames_per_drive,
        epochs=options.epochs,
        threads=THREADS,
        missing=[n for n in makers(places(options)) if n not in found],
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = page(board)
    before = onboarding(options.out.read_text(encoding="utf-8")) if options.out.is_file() else ""
    write_whole(options.out, (with_onboarding(text, before) if before else text).encode())

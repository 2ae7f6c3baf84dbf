"""What each idea brought to telling a road from what is none: the table, made by one command.

    python -m training.ablation --data DRIVING --weights WEIGHTS --cache FOLDER --out docs/ablation.md

``DRIVING`` holds the drive manifest, ``WEIGHTS`` those of MobileNetV2 and SqueezeNet 1.1; the networks' features are
kept in ``--cache``."""

from __future__ import annotations

import argparse
from pathlib import Path

from engines.console import progress
from engines.whole_file import write_whole
from training.ablation.features import read_suite
from training.ablation.page import write


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    suite = read_suite(options.data, options.weights, options.cache)
    with progress("judging", 0, "steps") as advance:
        text = write(suite, lambda what: advance(1, what))
    write_whole(options.out, text.encode())


if __name__ == "__main__":
    main()

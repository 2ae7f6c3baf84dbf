"""The leaderboard: from drives and pictures on disk to the page, verdicts from figures, and what is measured anew."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import InputError
from training.leaderboard.command import main
from training.leaderboard.page import Bottle, Cost, Entry, Figure, page, verdicts


def figure(auroc: float, worst: float = 0.5) -> Figure:
    return Figure(auroc, auroc - 0.01, auroc + 0.01, worst, "dusk", 3)


def entry(model: str, density: str, **figures: float) -> Entry:
    return Entry(model, density, {name: figure(value) for name, value in figures.items()}, 0.1)


def test_a_verdict_is_met_or_missed_by_the_figure_alone() -> None:
    rows = [entry("road", "kde", A=0.97, C=0.995), entry("large", "gmm", A=0.98)]
    bottles = [
        Bottle("road", "kde", 0.9, 0.959, 0.97, 0.863),
        Bottle("dfkde", "kde", 0.996, 0.96, 1.0, 0.863),
    ]
    found = {line.split(" | ")[0].strip("| "): line for line in verdicts(rows, bottles)}
    assert found["A, normal drives alone"].endswith("0.9700 | missed | 0.9800 large, gmm | met |")
    assert "0.9950 | met | 0.9950 road, kde | met" in found["C"]
    assert "not measured" in found["B, mean"]
    assert found["MVTec bottle, F1"].endswith("0.9590 | missed | 0.9600 dfkde, kde | met |")


def test_the_worst_drive_is_judged_by_itself() -> None:
    rows = [
        Entry("road", "kde, tilted", {"B": figure(0.95, 0.7)}, 0.1),
        Entry("large", "kde, tilted", {"B": figure(0.93, 0.8)}, 0.1),
    ]
    lines = verdicts(rows, [])
    assert any("0.7000 | missed | 0.8000 large, kde, tilted | met" in line for line in lines)
    assert any("0.9500 | met | 0.9500 road" in line for line in lines)


def test_the_page_says_what_a_better_row_costs() -> None:
    rows = [entry("road", "kde", A=0.9), entry("road-large", "kde", A=0.95)]
    costs = {"road": Cost(800.0, 1.0, 0.1), "road-large": Cost(200.0, 9.0, 0.7)}
    said = page(rows, [], costs, frames=4, epochs=1, threads=1)
    assert "default 0.900, best 0.950 by road-large, kde (4.0 times as long a frame)" in said
    assert "| **road** | kde | 0.900 (0.89 to 0.91) | — |" in said
    tables = [line for line in said.splitlines() if line.startswith("| ") and "worst of B" not in line]
    assert {line.count("|") for line in tables} <= {5, 7, 8, 12}


def pictures(folder: Path, count: int, level: float, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        noise = random.normal(level, 20.0, (64, 96, 3)).clip(0, 255)
        cv2.imwrite(str(folder / f"{i:03d}.png"), noise.astype(np.uint8))


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Bright highways and dark towns; IDD in a folder of drives; bottles."""
    random = np.random.default_rng(0)
    data = tmp_path / "driving"
    with_names = [("highway", 150.0, "road"), ("other", 60.0, "town")]
    rows = []
    for label, level, name in with_names:
        for i in range(3):
            pictures(data / label / f"{name}{i}", 14, level, random)
            split = "train" if label == "highway" and i else "val"
            rows.append([f"{label}/{name}{i}", label, f"{name}{i}", split, "no"])
            pictures(data / label / "idd" / f"d{i}", 4, level, random)
        rows.append([f"{label}/idd", label, "many", "val", "no"])
    with (data / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "drive", "split", "ship"], *rows])
    for part, level in (("train/good", 150.0), ("test/good", 150.0), ("test/broken", 60.0)):
        pictures(tmp_path / "bottle" / part, 12, level, random)
    return tmp_path


def command(suite: Path, *only: str) -> str:
    given = {
        "data": suite / "driving",
        "mvtec": suite / "bottle",
        "weights": suite,
        "cache": suite / "cache",
        "out": suite / "results.md",
        "frames-per-drive": 14,
    }
    main([*(f"--{name}={value}" for name, value in given.items()), "--only", *only])
    return (suite / "results.md").read_text()


def test_the_command_measures_what_is_named_and_keeps_the_rest(suite: Path) -> None:
    said = command(suite, "road, untrained", "baselines")
    assert "| road, untrained | kde, tilted | — | 1.000" in said
    assert "| mean brightness | baseline | 1.000" in said
    kept = suite / "cache" / "results" / "baselines.json"
    stored = json.loads(kept.read_text())
    stored["entries"][0]["model"] = "from the cache"
    kept.write_text(json.dumps(stored))
    assert "| from the cache | baseline |" in command(suite, "road, untrained")
    assert not list(suite.rglob("*.partial*"))


def test_a_model_that_there_is_not_is_refused(suite: Path) -> None:
    with pytest.raises(InputError, match="rod"):
        command(suite, "rod")
    assert not (suite / "results.md").exists()

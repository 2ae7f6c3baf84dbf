"""The leaderboard: from drives and pictures on disk to the page, verdicts from figures, and what is measured anew."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.encoders import DEFAULT
from engines.errors import InputError
from training.leaderboard import cost
from training.leaderboard.command import main
from training.leaderboard.figures import Bottle, Cost, Entry, Figure
from training.leaderboard.models import Places, makers
from training.leaderboard.page import Board, onboarding, page, with_onboarding
from training.leaderboard.verdicts import verdicts
from training.thresholds import Decided


def figure(auroc: float, worst: float = 0.5) -> Figure:
    return Figure(auroc, auroc - 0.01, auroc + 0.01, worst, "dusk", 3)


def entry(model: str, density: str, **figures: float) -> Entry:
    found = {name: figure(value) for name, value in figures.items()}
    return Entry(model, density, found, {name: Decided(0.1, 0.5) for name in found}, 0.1)


def test_a_verdict_is_met_or_missed_by_the_figure_alone() -> None:
    rows = [entry(DEFAULT, "kde", A=0.97, C=0.995), entry("dear", "gmm", A=0.98)]
    bottles = [
        Bottle(DEFAULT, "kde", 0.9, 0.959, 0.97, 0.863),
        Bottle("dfkde", "kde", 0.996, 0.96, 1.0, 0.863),
    ]
    found = {line.split(" | ")[0].strip("| "): line for line in verdicts(rows, bottles)}
    assert found["A, normal drives alone"].endswith("0.9700 | missed | 0.9800 dear, gmm | met |")
    assert f"0.9950 | met | 0.9950 {DEFAULT}, kde | met" in found["C"]
    assert "not measured" in found["B, mean"]
    assert found["MVTec bottle, F1"].endswith("0.9590 | missed | 0.9600 dfkde, kde | met |")


def test_the_worst_drive_is_judged_by_itself() -> None:
    rows = [
        Entry(DEFAULT, "kde, tilted", {"B": figure(0.95, 0.7)}, {}, 0.1),
        Entry("dear", "kde, tilted", {"B": figure(0.93, 0.8)}, {}, 0.1),
    ]
    lines = verdicts(rows, [])
    assert any("0.7000 | missed | 0.8000 dear, kde, tilted | met" in line for line in lines)
    assert any(f"0.9500 | met | 0.9500 {DEFAULT}" in line for line in lines)


def test_the_page_says_what_a_better_row_costs() -> None:
    rows = [entry(DEFAULT, "kde", A=0.9), entry("dear", "kde", A=0.95), entry("small", "kde", A=0.85)]
    costs = {
        DEFAULT: Cost(800.0, 1.0, 1.0, 0.146),
        "dear": Cost(200.0, 4.0, 9.0, 0.7),
        "small": Cost(900.0, 0.9, 1.0, 0.14),
    }
    said = page(Board(rows, [], [], costs, frames=4, epochs=1, threads=1))
    assert f"| A | 0.900 | 0.900 {DEFAULT}, kde | 0.950 dear, kde (4.0 times as long a frame) |" in said
    assert f"those that do are `{DEFAULT}`, `small`." in said
    assert f"At its cost `{DEFAULT}` is first in A (kde), and is beaten in nothing." in said
    assert f"| **{DEFAULT}** | kde | 0.900 (0.89 to 0.91) | — |" in said
    assert f"Fewer operations than the default, `{DEFAULT}`: `small`." in said
    tables = [block.splitlines() for block in said.split("\n\n") if block.startswith("| ")]
    assert len(tables) == 7
    assert all(len({row.count("|") for row in rows}) == 1 for rows in tables)


def test_a_cheaper_or_equal_row_that_is_better_is_said_to_be() -> None:
    rows = [entry(DEFAULT, "kde", A=0.9, C=0.99), entry("small", "kde", A=0.95, C=0.98)]
    costs = {DEFAULT: Cost(800.0, 1.0, 1.0, 0.146), "small": Cost(900.0, 0.9, 1.0, 0.14)}
    said = page(Board(rows, [], [], costs, frames=4, epochs=1, threads=1))
    assert "is first in C (kde), and is beaten in A (kde)." in said


def test_f1_stands_beside_that_of_calling_everything_other() -> None:
    said = page(Board([entry(DEFAULT, "kde", A=0.9, B=0.8)], [], [], {}, frames=4, epochs=1, threads=1))
    assert f"| {DEFAULT} | kde | 0.10 | 0.50 | 0.625 | 0.661 | 0.10 | 0.50 | 0.625 | 0.661 |" in said
    assert "| everything is other | by definition | 1.00 | 1.00 | 0.667 | 0.942 |" in said
    assert f"best row by F1 at half is {DEFAULT}, kde: it finds 50% of the frames at 10% false" in said


def pictures(folder: Path, count: int, level: float, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        noise = random.normal(level, 20.0, (64, 96, 3)).clip(0, 255)
        cv2.imwrite(str(folder / f"{i:03d}.png"), noise.astype(np.uint8))


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bright highways and dark towns; IDD in a folder of drives; bottles. Costs are timed for a moment only."""
    monkeypatch.setattr(cost, "TIMED_S", 0.0)
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
        pictures(tmp_path / "bottle" / part, 40 if part == "train/good" else 12, level, random)
    masks = tmp_path / "bottle" / "ground_truth" / "broken"
    masks.mkdir(parents=True)
    for i in range(12):
        cv2.imwrite(str(masks / f"{i:03d}_mask.png"), np.full((64, 96), 255, np.uint8))
    return tmp_path


def command(suite: Path, *only: str) -> str:
    given = {
        "data": suite / "driving",
        "mvtec": suite / "bottle",
        "weights": suite,
        "cache": suite / "cache",
        "out": suite / "results.md",
        "frames-per-drive": 14,
        "epochs": 1,
    }
    main([*(f"--{name}={value}" for name, value in given.items()), "--only", *only])
    return (suite / "results.md").read_text()


def test_the_command_measures_what_is_named_and_keeps_the_rest(suite: Path) -> None:
    said = command(suite, "road, untrained", "baselines")
    assert "| road, untrained | kde, tilted | — | 1.000" in said
    assert "| mean brightness | baseline | 1.000" in said
    assert "| mean edge strength | baseline |" in said
    assert "| difference from the mean good picture | 96 × 96 | 1.000 |" in said
    kept = suite / "cache" / "results" / "baselines.json"
    stored = json.loads(kept.read_text())
    stored["entries"][0]["model"] = "from the cache"
    kept.write_text(json.dumps(stored))
    said = command(suite)
    assert "| from the cache | baseline |" in said
    assert "| road, untrained | kde, tilted | — | 1.000" in said
    assert not list(suite.rglob("*.partial*"))


def test_an_encoder_that_learns_is_trained_judged_and_not_trained_again(suite: Path) -> None:
    said = command(suite, "autoencoder")
    for density in ("kde", "gaussian", "gmm", "kde, tilted", "reconstruction"):
        assert sum(line.startswith(f"| autoencoder | {density} |") for line in said.splitlines()) >= 2, (
            density
        )
    assert "| autoencoder | 12 × 12 |" in said
    trained = sorted((suite / "cache").glob("autoencoder-*.onnx"))
    assert [p.name for p in trained] == ["autoencoder-bottles-1.onnx", "autoencoder-roads-1.onnx"]
    made = [p.stat().st_mtime_ns for p in trained]
    places = Places(suite, suite / "driving", suite / "bottle", suite / "cache", 1)
    assert makers(places)["autoencoder"]().bottles is not None
    assert [p.stat().st_mtime_ns for p in trained] == made


def test_a_model_that_there_is_not_is_refused(suite: Path) -> None:
    with pytest.raises(InputError, match="rod"):
        command(suite, "rod")
    assert not (suite / "results.md").exists()


def test_the_section_of_another_command_stays_the_last() -> None:
    once = with_onboarding("# Leaderboard\n\nrows\n", "a table")
    again = with_onboarding(once, onboarding(once) + "\nmore")
    assert again == "# Leaderboard\n\nrows\n\n## Onboarding a camera\n\na table\nmore\n"
    assert onboarding("# Leaderboard\n") == ""

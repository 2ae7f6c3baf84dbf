"""Compare the events of a replay with those planted in a rendered drive; ends with 1 unless every one was
found and nothing else.

python benchmarks/check_planted.py drive.truth.json events.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

EARLY_S, LATE_S = 3.0, 4.0
"""An event may be detected this long before its planted start (the next scene comes into view early) or
after."""


def main(truth_file: Path, events_file: Path) -> int:
    """Print one line per planted event and per false alarm; return the exit code."""
    planted = json.loads(truth_file.read_text())["events"]
    messages = [json.loads(line) for line in events_file.read_text().splitlines()]
    found = [m for m in messages if m["phase"] == "start"]
    wrong = list(found)
    missed = 0
    for event in planted:
        name = " ".join(filter(None, (event["kind"], event["mode"])))
        matches = [
            m
            for m in found
            if (m["kind"], m["mode"]) == (event["kind"], event["mode"])
            and -EARLY_S <= m["detected_s"] - event["start_s"] <= LATE_S
        ]
        if matches:
            wrong = [m for m in wrong if m not in matches[:1]]
            delay_s = matches[0]["detected_s"] - event["start_s"]
            print(f"found   {name:<24} planted at {event['start_s']:6.1f} s, detected {delay_s:+.1f} s")
        else:
            missed += 1
            print(f"MISSED  {name:<24} planted at {event['start_s']:6.1f} s")
    for m in wrong:
        print(f"FALSE   {m['kind']} {m['mode']} at {m['detected_s']:.1f} s")
    print(f"{len(planted) - missed} of {len(planted)} planted events found, {len(wrong)} false alarms")
    return 1 if missed or wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

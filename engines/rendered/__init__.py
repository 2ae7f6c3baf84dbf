"""A rendered drive: footage of a dash camera that any machine can make, with known events planted in it."""

from engines.rendered.drive import Drive, render
from engines.rendered.script import (
    NORMAL,
    SCENES,
    Planted,
    Script,
    Segment,
    check,
    demo_script,
    duration_s,
    planted,
)
from engines.video import write_video

__all__ = [
    "NORMAL",
    "SCENES",
    "Drive",
    "Planted",
    "Script",
    "Segment",
    "check",
    "demo_script",
    "duration_s",
    "planted",
    "render",
    "write_video",
]

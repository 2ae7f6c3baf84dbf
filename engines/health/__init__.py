"""Is the camera itself all right? Cheap statistics per frame, from the decoder's planes at their own resolution and
from the small picture; no model is asked.

``checks`` is the table of what is told, and how. The rest is by kind of evidence: ``delivery`` (how frames
came), ``light``, ``colour``, ``detail``, ``codec``, ``pattern``, ``sensor``, ``stillness``, ``motion``,
``layout`` (with ``turned``, for what moved far), ``cover``, ``overlay``.
``scene`` tells a scene that goes on from a cut, ``past`` is what a stream was like, ``judge`` puts all together."""

from engines.health.checks import CHECKS, MODES, Check, Mode
from engines.health.judge import HealthChecks
from engines.health.levels import held_levels, raised_limits
from engines.health.record import Health, Suspicion

__all__ = [
    "CHECKS",
    "MODES",
    "Check",
    "Health",
    "HealthChecks",
    "Mode",
    "Suspicion",
    "held_levels",
    "raised_limits",
]

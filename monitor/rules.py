"""What people decide for one camera. Pure.

Rules never reach into the detector: they choose what it is calibrated with and what it gets to hear, so that replay
equals live under the same rules."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import msgspec

from engines.decision import Calibration, Channel, budgeted
from engines.errors import CalibrationError
from engines.health import Health
from engines.health.fault import Fault
from engines.regions import NOWHERE, Regions

SCENE_CHANNELS = frozenset({"domain", "departure"})
"""Channels that speak of what is in the picture."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The default changes nothing.

    ignored: regions beside those that the bundle was taught with. false_alarms_per_hour: the budget; None: the one the
    bundle was calibrated for. domain_hold_s: how long the channels must stay above their thresholds to be believed; None:
    as calibrated. domain_told: whether anybody wants to know that the stream left its domain. fault_hold_s: how long a
    suspicion must last at least to be believed. silenced: faults that nobody wants to know of.
    """

    ignored: Regions = NOWHERE
    false_alarms_per_hour: float | None = None
    domain_hold_s: float | None = None
    domain_told: bool = True
    fault_hold_s: float = 0.0
    silenced: frozenset[Fault] = frozenset()

    def calibration(self, learnt: Calibration) -> Calibration:
        """What the detector is to apply in place of ``learnt``.

        Raises CalibrationError, named by the setting, where the footage behind it does not support that."""
        found = learnt
        if self.false_alarms_per_hour is not None:
            try:
                found = budgeted(learnt, self.false_alarms_per_hour)
            except CalibrationError as error:
                raise CalibrationError("false_alarms_per_hour", error.problem, error.remedy) from error
        if self.domain_hold_s is not None:
            least_s = learnt.rule.confirm_s
            if self.domain_hold_s < least_s:
                raise CalibrationError(
                    "left_domain.hold_s",
                    f"must be {least_s:g} s or more, got {self.domain_hold_s:g}: the thresholds were found for what lasts "
                    f"{least_s:g} s, and what is shorter rises above them more often than was promised",
                    "hold longer, or leave it out",
                )
            held = msgspec.structs.replace(found.rule, confirm_s=self.domain_hold_s)
            found = msgspec.structs.replace(found, rule=held)
        return msgspec.structs.replace(found, channels=tuple(map(self._told, found.channels)))

    def _told(self, channel: Channel) -> Channel:
        """The channel, out of reach if nobody wants to know what it says."""
        scene = channel.name in SCENE_CHANNELS and not self.domain_told
        broken = channel.name == "corruption" and Fault.CORRUPTED in self.silenced
        return msgspec.structs.replace(channel, threshold=math.inf) if scene or broken else channel

    def heard(self, health: Health) -> Health:
        """What the detector gets to hear of a frame: a silenced suspicion neither alarms nor holds up anything."""
        if not (self.silenced or self.fault_hold_s):
            return health
        kept = tuple(
            replace(s, confirm_s=max(s.confirm_s, self.fault_hold_s))
            for s in health.suspicions
            if s.fault not in self.silenced
        )
        nearest, hint = (
            None if one is not None and one.fault in self.silenced else one
            for one in (health.nearest, health.hint)
        )
        return replace(health, suspicions=kept, nearest=nearest, hint=hint)


AS_TAUGHT = Rules()

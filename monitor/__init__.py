"""The running system: sources, detector, events, alerts, replay and the live daemon."""

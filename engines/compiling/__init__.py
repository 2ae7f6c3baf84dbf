"""From a bundle to an engine: encoders in 16 and 8 bits, and engines compiled ahead of time."""

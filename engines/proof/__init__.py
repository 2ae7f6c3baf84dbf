"""An engine against the reference, and against the clock."""

"""Live cameras: one reader thread each, which never gives up and never makes anybody wait."""

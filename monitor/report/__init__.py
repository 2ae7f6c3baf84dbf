"""Reports as pages: one HTML file that needs no network. ``recordings`` is that of a replay, on the ``page`` of every report."""

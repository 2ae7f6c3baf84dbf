"""Every model × density on the driving suite and on MVTec's bottle: ``python -m training.leaderboard`` writes
docs/results.md."""

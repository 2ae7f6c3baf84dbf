"""``python -m training.leaderboard``."""

from training.leaderboard.command import main

main()

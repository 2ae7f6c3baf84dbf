"""Training an encoder of one's own: ``loop.py`` reads from top to bottom."""

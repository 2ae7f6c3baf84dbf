"""Honest evaluation: recordings of both kinds watched as in life, and what that says of a bundle."""

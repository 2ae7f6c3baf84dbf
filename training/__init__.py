"""Offline: from footage to a bundle."""

"""Configuration files that ship with the package, as examples to copy."""

"""What a model is and how it runs: bundles, density, engines, and the footage they are taught from."""

__version__ = "0.4.0"

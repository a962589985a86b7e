"""The version of p5t5; the build reads it from here."""

__version__ = "0.1.0"

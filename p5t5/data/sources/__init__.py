"""Readers of raw files, one per format or data set."""

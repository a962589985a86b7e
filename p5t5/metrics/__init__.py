"""Metrics: one function each, per example, with intervals."""

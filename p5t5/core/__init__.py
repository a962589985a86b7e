"""Ragged arrays, keyed randomness, errors and files: what everything else stands on."""

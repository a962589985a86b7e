"""Soft targets: what simple models of the training rows say, for the T5 to learn."""

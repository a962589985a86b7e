"""Soft targets: what simple models of the training rows find likely, for the T5 to learn."""

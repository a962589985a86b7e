"""From raw files to records, splits and what is computed from training rows."""

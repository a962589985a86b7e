"""One new thing of each kind, each from one file: what `tests/system/test_extension.py` adds to p5t5."""

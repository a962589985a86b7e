"""The Accelerate loop. It works on batches, without any notion of recommendation."""

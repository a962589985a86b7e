"""The Accelerate loop. It knows batches, not recommendation."""

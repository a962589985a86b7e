"""The T5: configuration, forward pass, initialization and its CPU kernels."""

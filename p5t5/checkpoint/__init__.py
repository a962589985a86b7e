"""The folder a model travels in, and how an untrained one is made."""

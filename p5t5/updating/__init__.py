"""New items, users and interactions for a trained model."""

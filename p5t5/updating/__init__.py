"""New items, users and interactions for a model that is trained already."""

"""HTML pages and the model card, made from result rows."""

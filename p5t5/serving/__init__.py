"""The recommender as an HTTP service and a page."""

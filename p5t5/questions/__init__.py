"""From a question in plain text to a request."""

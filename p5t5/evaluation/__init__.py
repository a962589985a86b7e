"""Protocols, judging and result rows."""

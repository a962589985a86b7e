"""Trie-constrained beam search, candidate scoring and text generation."""

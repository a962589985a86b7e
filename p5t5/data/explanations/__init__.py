"""Explanations made from reviews or shared attributes."""

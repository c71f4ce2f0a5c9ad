"""Strategies' weights at any task diversity and step, logged or not."""

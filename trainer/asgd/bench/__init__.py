"""Measures this project's own paths, and its peers beside them."""

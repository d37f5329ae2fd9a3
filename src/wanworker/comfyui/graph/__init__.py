"""Graphs in API format, the node classes that they use, and what is wrong with them."""

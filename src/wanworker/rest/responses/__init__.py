"""The larger responses: downloads, event streams, health and metrics."""

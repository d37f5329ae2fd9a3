"""Decode pictures of unknown origin in processes of their own."""

"""Recognise weight files by their headers alone: their layout, their model, and what fits together."""

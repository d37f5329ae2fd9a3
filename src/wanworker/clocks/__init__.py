"""Clocks that tell the time in which this process ran."""

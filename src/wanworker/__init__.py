"""Render Wan 2.2 video: one core behind RunPod's handler, a REST API and a command line."""

__version__ = "0.1.0"

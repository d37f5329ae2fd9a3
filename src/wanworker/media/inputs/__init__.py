"""Fetch and check what callers send: pictures, sounds and videos by URL, base64 or path."""

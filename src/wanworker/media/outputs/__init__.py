"""Deliver a finished file: as base64, in a bucket, re-encoded to fit, or by path."""

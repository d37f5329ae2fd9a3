"""HTTP itself: the key, limits on bodies, headers and the form of errors."""

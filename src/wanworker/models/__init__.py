"""Model files: where they are, what they hold, and how to get them."""

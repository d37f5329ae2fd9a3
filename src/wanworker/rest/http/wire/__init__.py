"""One connection as bytes: what may come, how long it may take, and how it is closed."""

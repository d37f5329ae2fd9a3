"""What will become of a request: its engine, its spec, and how long jobs like it took."""

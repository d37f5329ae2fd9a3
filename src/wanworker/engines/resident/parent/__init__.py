"""The parent of the resident child: it starts the child, sends it jobs and restarts it."""

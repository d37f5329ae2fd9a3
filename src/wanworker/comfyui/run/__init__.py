"""Run one prompt on a server: validate it, watch it, cancel it, free memory after it."""

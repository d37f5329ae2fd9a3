"""The hardware of this machine, and a report on what it can render."""

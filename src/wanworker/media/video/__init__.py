"""Write, read and probe videos and sound."""

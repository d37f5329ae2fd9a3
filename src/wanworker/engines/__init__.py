"""What can make a video."""

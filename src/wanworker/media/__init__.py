"""Pictures, sounds and videos on their way in and out."""

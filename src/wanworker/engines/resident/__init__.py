"""A child process that keeps one Wan pipeline in memory and renders jobs with it, and the parent's side of it."""

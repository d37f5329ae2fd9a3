"""The child process that keeps the weights warm: the only code that imports torch and diffusers."""

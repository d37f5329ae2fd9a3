"""A ComfyUI server as an engine; `engine` has it, the other modules are its parts, `graphs/` our own graphs."""

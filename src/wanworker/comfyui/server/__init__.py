"""Start, probe, restart and stop a ComfyUI server of our own."""

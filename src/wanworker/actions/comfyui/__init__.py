"""The three actions that need a ComfyUI server: a workflow, an image to video, the list of model files."""

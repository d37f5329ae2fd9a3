"""Read LoRA files of every layout, and hang what they change beside the layers of a model."""

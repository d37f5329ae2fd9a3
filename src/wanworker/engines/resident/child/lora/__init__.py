"""Read LoRA files of every layout, and compute what they change beside the layers of a model."""

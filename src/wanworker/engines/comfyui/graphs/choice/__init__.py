"""What goes into a graph: model files, LoRAs, steps, sampling and the length of the clip."""

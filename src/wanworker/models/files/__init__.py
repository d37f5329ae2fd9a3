"""Read model files and folders: safetensors headers, layouts, LoRAs, damage."""

"""The generate action: its fields, and the render request that it becomes."""

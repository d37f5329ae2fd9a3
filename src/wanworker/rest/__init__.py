"""The REST door: the FastWAN API on port 8189, its page, and a RunPod-shaped face over the same core."""

"""The REST door: the FastWAN API on port 8189, its page, `/v1/videos`, and RunPod's own routes, over the same core."""

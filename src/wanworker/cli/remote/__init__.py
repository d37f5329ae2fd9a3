"""Submit jobs to a server of ours or to a RunPod endpoint, and follow them."""

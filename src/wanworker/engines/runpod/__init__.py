"""Render on RunPod: send jobs to endpoints whose workers are ours, and bring back what they made."""

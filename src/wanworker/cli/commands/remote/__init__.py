"""The commands that work with jobs elsewhere: on a REST server of ours or on a RunPod endpoint."""

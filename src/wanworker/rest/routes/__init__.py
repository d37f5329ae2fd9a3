"""The routes of the REST API, and the same jobs in the form of RunPod."""

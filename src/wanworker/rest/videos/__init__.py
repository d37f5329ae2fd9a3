"""The routes of `/v1/videos`, over the same queue, jobs and files as the other routes."""

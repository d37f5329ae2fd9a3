"""
The wire of `/v1/videos`, which many open video servers speak: what a request means here, and how a job is shown.

It translates into the fields of the `generate` action and out of the record of a job. The REST API (rest/videos/) and
RunPod jobs with `openai_route` (job_route.py) use it alike.
"""

"""What outlives a call: the record of a job, its store, its attempts and its queue."""

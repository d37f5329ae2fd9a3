"""Read a job's input: its envelope, its fields, and the values that several actions share."""

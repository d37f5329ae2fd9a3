"""Read the fields of a job: their names, and the values that several actions share."""

"""The cards of this machine: which there are, which one a job gets, and the state of each."""

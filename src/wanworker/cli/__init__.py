"""The command line: the one door that prints."""

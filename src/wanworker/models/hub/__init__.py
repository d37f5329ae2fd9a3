"""Fetch the weight sets of the catalogue from the Hugging Face Hub."""

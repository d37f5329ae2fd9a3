"""Job records in files on the volume, with their claims, owners and index."""

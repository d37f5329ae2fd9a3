"""Convert a workflow as the browser saves it into the API format."""

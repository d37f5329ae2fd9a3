"""A ComfyUI server's HTTP routes, its websocket, its events and its history."""

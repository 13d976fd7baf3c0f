"""Clients of a ComfyUI host: finding and running a local one, talking to any over HTTP and WebSocket."""

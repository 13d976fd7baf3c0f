"""What a trainer, the canvas and the sidebar ask over HTTP."""

"""What ComfyUI's side and the client's side both speak: events, refusals, records in pictures."""

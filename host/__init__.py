"""What touches ComfyUI's objects, one room per job; with `nodes/` the only part that imports ComfyUI."""

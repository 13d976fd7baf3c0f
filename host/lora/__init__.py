"""LoRA checkpoints on ComfyUI's MODEL and CLIP."""

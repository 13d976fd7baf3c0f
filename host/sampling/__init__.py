"""Schedules, samplers, noise and guidance as ComfyUI's objects, and sampling itself."""

"""Prompts to CONDITIONING, and CONDITIONING on disk."""

"""musubi-tuner."""

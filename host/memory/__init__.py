"""Sampling with little memory: smaller calls, offloading, slices."""

"""Little memory: out-of-memory steps, offloading, slices."""

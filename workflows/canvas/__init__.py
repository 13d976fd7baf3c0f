"""The form of a graph that a person opens on the canvas."""

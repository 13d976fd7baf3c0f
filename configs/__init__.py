"""From a config's text to a tree whose every value knows its place, and typed access to it."""

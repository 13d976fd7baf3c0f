"""kohya sd-scripts and its GUI."""

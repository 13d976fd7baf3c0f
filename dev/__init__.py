"""Set-up of a local ComfyUI, the demo, example pictures and tables made from code; not in the registry pack."""

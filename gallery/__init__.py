"""Galleries: one folder with a run's pictures and a page that shows them, opened from the disk or served.

Plain Python and Pillow: the command line and ComfyUI's sidebar use it.
"""

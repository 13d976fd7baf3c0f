"""Pictures on disk and on one sheet: each trainer's file layout, atomic saving with metadata, contact sheets.

It needs only Pillow and numpy. The nodes and the command line use it.
"""

"""The commands of `eri`, one file each, and what all of them share; `app.py` puts them together."""

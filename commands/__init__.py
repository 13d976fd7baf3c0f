"""Groups of `eri` commands and what all of them share; `cli.py` puts them together."""

"""Saving pictures and contact sheets from a graph."""

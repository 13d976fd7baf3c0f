"""EriDiffusion V1."""

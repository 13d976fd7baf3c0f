"""EriDiffusion V2."""

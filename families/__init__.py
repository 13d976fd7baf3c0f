"""One file for each model family, with all that is known of it."""

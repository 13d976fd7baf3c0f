"""One folder for each trainer, with all that is known of it."""

"""Makes the reference pictures that are shipped."""

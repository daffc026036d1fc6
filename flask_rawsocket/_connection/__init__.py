"""What a connection is, and what a view may ask of it."""

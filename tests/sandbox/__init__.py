"""The sandbox against the protocol's documentation, and against clients that nobody here wrote."""

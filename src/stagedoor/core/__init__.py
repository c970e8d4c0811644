"""The decision, pure: it imports the standard library alone, opens nothing, and is given the time."""

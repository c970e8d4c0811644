"""The decision, pure: standard library only; it opens nothing and is told the time."""

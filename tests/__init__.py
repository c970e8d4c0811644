"""A package, because a library that the tests need installs a folder `tests` of its own, which would be found first."""

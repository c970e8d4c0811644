"""Private files for the people who are signed in. One policy, every door."""

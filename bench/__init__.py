"""Side by side with the peers, and the costs of our own parts. `bench/run --help` says how."""

"""A community's own chain: its genesis, what each machine needs, and its life on one machine."""

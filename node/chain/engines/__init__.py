"""The chains that the one client speaks to: embedded, anvil, a real network."""

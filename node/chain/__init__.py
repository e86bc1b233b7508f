"""The chain side of a household: client, keys, outbox, events and deployment."""

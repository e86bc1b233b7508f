"""Meters: pure codecs, transports, and sources that tell cumulative registers."""

"""The market as pure functions: the reference clearing, orders and strategies."""

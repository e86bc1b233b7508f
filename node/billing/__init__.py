"""From the distribution operator's official curves to a fair bill."""

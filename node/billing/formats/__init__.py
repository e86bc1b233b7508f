"""One module for each format in which operators hand out their measures."""

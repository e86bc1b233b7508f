"""What brings a meter's bytes: serial lines, brokers, web interfaces, Modbus, recordings."""

"""What survives a restart: the state directory, files that a power cut cannot damage, the registers kept in them."""

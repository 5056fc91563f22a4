"""What travelled, kept: captures for Wireshark, recordings of a device, and a device played from its recording."""

"""Writes to devices: clients' writes through the image, pushes of our registers, watchdogs."""

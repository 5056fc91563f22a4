"""Tables of other programs, and our own, as devices of a plant."""

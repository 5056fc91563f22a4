"""The local control socket: what a running gateway tells its owner, and the client that asks."""

"""The page: a small HTTP server in the loop that serves registers, its interface for programs, the files of the page.

The rule of the room: whoever looks must not be felt by those who are served. Lists are made into text in slices of half
a millisecond, once for all who look; nothing is made when nobody does. Every connection, viewer, wait and size has a
limit, and nobody can take all places. What is written passes the gate as any Modbus client's write does.
"""

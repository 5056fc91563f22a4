"""What Prometheus scrapes: the text format 0.0.4, written by hand.

`families` says which metrics there are and which value of which row each one shows, `text` how they are written,
`render` makes one pass over the rows. Pure: plain rows in, parts of text out; nothing here knows a gateway or a socket.
"""

from gateway.metrics.render import CONTENT_TYPE, Rows, TagRow, render

__all__ = ["CONTENT_TYPE", "Rows", "TagRow", "render"]

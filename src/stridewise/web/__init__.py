"""The local page: a server for one person on one machine. Geometry is computed here; the browser only draws."""

"""The register map that clients see: one neutral form of it, a writer for every tool, readers of tables from elsewhere.

`neutral.map_of(config)` says what is served, `writers/` turn that into files, `readers/` turn a table into a device
section. Pure: values in, text out; the commands read and write the files.
"""

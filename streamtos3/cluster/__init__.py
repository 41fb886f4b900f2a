"""More than one machine: files and objects in pieces, on workers of a Dask cluster."""

"""What a person runs: the viewer, its panels, the command line, pictures and benchmarks.

The top floor: it may import `h3d.models` and `h3d.renderers`; nothing below imports it.
"""

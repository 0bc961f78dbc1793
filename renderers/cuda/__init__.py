"""The CUDA backend: the same names and signatures as `renderers/cpu`."""

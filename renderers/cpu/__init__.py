"""The CPU backend, the definition of right: C++ kernels (`*.cpp`) behind thin Python twins (`*.py`)."""

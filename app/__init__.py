"""What a person runs: the viewer, its panels, the command line, pictures and benchmarks.

The top floor: it may import `h3d.models` and `h3d.renderers`; nothing below imports it.
"""

import os

# Worker threads of torch's OpenMP wait by spinning unless told otherwise, and would take the cores that the kernels'
# own threads render on. It is read once, when torch loads, so it is said before anything here can import torch.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

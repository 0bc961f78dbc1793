"""Triangle meshes: values, files, and the signed distance to them.

`read(path)` and `write(path, mesh)` take one file a mesh; `MeshDistance` answers how far points are from it and what
rays meet of it. V vertices, F faces.
"""

from .distance import MeshDistance, NoInside
from .files import READABLE, WRITABLE, Z_UP, is_mesh, read, write
from .mesh import Mesh

__all__ = ["READABLE", "WRITABLE", "Z_UP", "Mesh", "MeshDistance", "NoInside", "is_mesh", "read", "write"]

"""A program for `test_hash_encoding_cuda`: compiles the Triton kernels for GPUs, of which none need be there.

Prints the bytes of machine code of each kernel and configuration as JSON.
"""

from __future__ import annotations

import json

from triton import compile  # type: ignore[reportMissingImports]
from triton.backends.compiler import GPUTarget  # type: ignore[reportMissingImports]
from triton.compiler import ASTSource  # type: ignore[reportMissingImports]

from h3d.renderers.cuda import hash_encoding as twin

KERNELS = ("_encode", "_table_gradient", "_position_gradient")
ARCHITECTURES = (80, 90)
TYPES = {"numbers": "*i64", "origin": "fp32", "count": "i32"}
"""Of the kernels' arguments; the others are pointers to float32."""


def machine_code(kernel: str, dims: int, table: str, architecture: int) -> int:
    """Bytes of the kernel for such a GPU."""
    function = getattr(twin, kernel)
    sizes = {"DIMS": dims, "LEVELS": 8, "FEATURES": 4, "POINTS": twin.BLOCK}
    types = {name: TYPES.get(name, "*fp32") for name in function.arg_names}
    types |= {name: table for name in types if name == "table"} | dict.fromkeys(sizes, "constexpr")
    constants = {(function.arg_names.index(name),): value for name, value in sizes.items()}
    source = ASTSource(function, types, constexprs=constants)
    target = GPUTarget("cuda", architecture, 32)
    return len(compile(source, target=target, options={"enable_fp_fusion": True}).asm["cubin"])


def main() -> None:
    found = {
        f"{kernel} {dims}D {table} sm_{architecture}": machine_code(kernel, dims, table, architecture)
        for kernel in KERNELS
        for dims in (2, 3)
        for table in ("*fp32", "*fp16")
        for architecture in ARCHITECTURES
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

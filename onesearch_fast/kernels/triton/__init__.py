"""Triton kernels: the portable GPU backend, and what a faster one is checked against.

A kernel is `_<operator>_kernel`; its pointers are `<tensor>_ptr`, its strides
`stride_<tensor>_<axis>`, its tile sizes `BLOCK_<AXIS>`. The function around it launches and returns
at once: it reads no result, so that it can stand in a CUDA graph.

Values widen to float32 at the load and narrow at the store: in between, bfloat16 is silently wrong
in Triton's interpreter, which is what runs these kernels where there is no GPU (TRITON_INTERPRET=1,
set before the import). `make triton` compares them there with the reference, and compiles every
kernel for each architecture, as it was launched.
"""

try:
    import triton  # noqa: F401
except ImportError as error:
    raise ImportError("triton is missing: pip install 'onesearch-fast[triton]'") from error

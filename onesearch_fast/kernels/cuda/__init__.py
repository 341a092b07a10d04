"""CUDA kernels of the native library, enqueued on torch's current stream."""

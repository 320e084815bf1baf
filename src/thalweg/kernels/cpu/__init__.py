"""Kernels for the CPU: a body as a Numba module, and the compiled loops that call it."""

"""Implementations of the operators, by backend; `registry` finds them by their file names."""

"""The reference: slow, plain, any size. What it computes is what the operator means."""

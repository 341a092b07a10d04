"""Serving: the beam search engine, the served model folder, and search from text to items."""

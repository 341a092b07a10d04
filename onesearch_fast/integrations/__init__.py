"""The trie inside other people's generation stacks: one module per stack."""

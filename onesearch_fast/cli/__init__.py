"""`onesearch-fast <verb>`: every module here with a `VERB` is a verb; `main` finds it by itself."""

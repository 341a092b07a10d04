"""What `onesearch-fast bench` measures: each module here has `rows()` and is found by itself."""

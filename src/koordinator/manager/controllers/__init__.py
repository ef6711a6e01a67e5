"""Controllers: each a function from what is to what should change, and a thin driver that reads, applies and retries."""

"""LoadAwareScheduling: place pods by what nodes really use, not only by what has been requested on them."""

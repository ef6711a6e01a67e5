"""The embedded Kubernetes API server: what users' tools and our components touch of the real one, durable in SQLite.

Read it from the outside in: ``app`` (start and stop), ``http`` (bytes to requests), ``verbs`` (what each request does),
``kinds`` (the rules of each kind), ``store`` (memory and order), ``journal`` (disk).
"""

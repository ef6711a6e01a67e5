"""What an API server does to objects, as pure functions on plain JSON: no storage, no transport.

Shared by the embedded server and the memory store, so that both mean the same by a default, a status write, a deletion, a
binding or an eviction.
"""

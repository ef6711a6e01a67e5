"""Plugins about persistent volumes, and what they know together."""

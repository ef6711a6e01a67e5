"""The rules of each kind: names, defaults, what may change, what is refused, how it is shown in a table."""

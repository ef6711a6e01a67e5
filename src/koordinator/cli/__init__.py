"""`koord`: thin verbs; each calls one function of the packages below."""

"""`python -m koordinator` is `koord`."""

from koordinator.cli.main import main

main()

"""`python -m streamtos3`."""

from .cli import main

main()

"""`python -m qkvlab` is the program `qkvlab`."""

from .cli import main

main()

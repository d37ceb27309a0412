"""`python -m saga_app` is `saga`."""

from saga_app.cli import main

main(prog_name="saga")

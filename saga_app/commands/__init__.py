"""The commands of `saga`. A command imports what it needs when it runs, so that `saga --help` is fast."""

"""What `saga` can do, a file for each command or two.

What a command needs is imported when it runs: `saga --help` answers at once.
"""

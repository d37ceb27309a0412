"""One service a file, each deployable by itself: `faust -A agents.provisioner worker`."""

from saga_app import environment

environment.report_in_one_line()
environment.check_packages()

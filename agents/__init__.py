"""One service a file, each deployable by itself: `faust -A agents.provisioner worker`."""

from saga_app import environment

environment.replace_unencodable_characters()
environment.report_in_one_line()
environment.check_packages()

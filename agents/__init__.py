"""One service a file, each deployable by itself: `faust -A agents.provisioner worker`."""

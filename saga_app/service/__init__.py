"""How a step runs: a Faust app for each service, its loop, its outside world, its health."""

"""HTTP code shared by the Provisioner and the console: problem responses, access, new users, starting sagas."""

"""HTTP shared by the Provisioner and the console: problems, access, new users, starting a saga."""

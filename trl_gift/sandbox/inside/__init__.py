"""What runs in the confined processes: the worker's fork server, the judge, and the program's side of the channel."""

"""The server's side of a fleet: a ServerApp on Flower's strategies, and one of ours, distillation."""

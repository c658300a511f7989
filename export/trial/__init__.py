"""Trial of a mentee in a child process: its gradient graph is built and takes steps, and what dies there is only the child."""

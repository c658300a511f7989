"""What does a mentor cost on the server, in steps, epochs and memory, and beside torchdistill?"""

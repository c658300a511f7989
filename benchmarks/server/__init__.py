"""How much does a mentor cost on the server: steps, epochs, memory, and beside torchdistill?"""

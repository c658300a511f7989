"""How much memory and time does data take that does not fit in memory?"""

"""How much do many devices learn together, and in how many bytes?"""

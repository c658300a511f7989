"""What do many devices learn together, and what does it cost in bytes?"""

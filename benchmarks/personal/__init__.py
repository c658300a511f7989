"""How much does a new owner gain by learning on the device, and how much do the others lose?"""

"""How much does supervision gain over the lone mentee, and with how many labels?"""

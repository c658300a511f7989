"""What is left of an owner's folder when the process is killed or the power goes?"""

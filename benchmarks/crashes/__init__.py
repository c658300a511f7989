"""Does an owner's folder survive when the process is killed or the power goes?"""

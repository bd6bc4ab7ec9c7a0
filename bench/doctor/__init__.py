"""`bench doctor`: does what predictions rely on hold on this machine?"""

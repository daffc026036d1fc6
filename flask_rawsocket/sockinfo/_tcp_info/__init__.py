"""`TCPInfo` and where its fields lie in the answer of each system."""

"""`TCPInfo`, and where each system's answer has its fields."""

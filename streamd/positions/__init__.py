"""Which records of an input that is read again a sink has stored, so that each is stored once."""

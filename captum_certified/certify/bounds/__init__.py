"""The bounds: what each proves of a map at every input within a radius, and which of them applies."""

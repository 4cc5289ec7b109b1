"""The embedded world: stimuli and brains of known parameters, so that methods can be checked against truth."""

"""The light foundation: types, spaces, alignment, storage. It imports nothing of ours and nothing heavy."""

"""The sentences of the product: each says what is done; the rooms below know how."""

"""How fast is it here: a comparison, and training, each beside what people write for it, in one run."""

"""The error of all that reads recipes."""


class RecipeError(ValueError):
    """A file has no recipe, or one that cannot be followed; the sentence says why."""

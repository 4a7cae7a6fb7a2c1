"""What the programs beside this one check of errors."""


def refused(kind, part, do):
    """An error of this class, whose message says this."""
    try:
        do()
    except kind as error:
        assert part in str(error), error
        return
    raise AssertionError(f"no error with '{part}'")

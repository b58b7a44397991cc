"""What went wrong, told as a sentence."""


class Trouble(Exception):
    """A test failed, or could not be run; the text says what was expected of what."""


def expect(condition, text):
    """Fails with the text unless the condition holds; unlike assert, always."""
    if not condition:
        raise Trouble(text)

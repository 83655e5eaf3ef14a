"""The documentation's workshop: reference pages made from the code, what MkDocs is told, code blocks that tests run.

``python -m docsite`` writes ``docs/reference``; ``make docs`` then builds the site. Nothing of Latchkey imports this.
"""

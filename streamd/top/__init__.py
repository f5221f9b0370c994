"""The live page of `streamd top`.

It uses rich, which is a dependency already: one page of tables each second needs none of Textual's widgets.
"""

"""Runs analysts' notebooks, and makes reports of them.

    python -m flowkit_notebooks execute INPUT.ipynb OUTPUT.ipynb <parameters.json
    python -m flowkit_notebooks report EXECUTED.ipynb --html OUT.html --pdf OUT.pdf [--template FILE]

``execute`` gives the parameters (a JSON object on standard input) to the notebook as papermill does: in a cell of its own after the one
that is tagged ``parameters``. Exit status 0; or 1, with one line on standard error, and the notebook as far as it came.

``report`` shows text and what the cells put out, without the code. Nothing is loaded for it, from nowhere: what a notebook
names outside of itself is left out. Exit status 3, with one line, when that went wrong.

Exit status 2 is a wrong command line.
"""


class Mistake(Exception):
    """Something that whoever wrote or called the notebook can put right; said in one line."""


class Died(Mistake):
    """The kernel is gone. What it said last may tell why."""

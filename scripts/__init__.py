"""Scripts that make files which the package and its documentation ship: `python -m scripts.NAME`. Not in the wheel."""

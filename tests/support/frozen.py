"""Imported last by a process that is to be forked.

A search for garbage in the forks would write into every object of the imported libraries, and so copy the memory that
they share with this process.
"""

import gc

gc.collect()
gc.freeze()

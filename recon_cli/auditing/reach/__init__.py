"""How a loss is come by: out of a file, or out of a live training step.

A function: ``source_files`` reads, ``extracting`` takes it out of a file that must not be run, ``callables`` makes it callable,
``asking`` calls it with the stand-ins of ``tracing``, ``roles`` and ``binding`` say what each of its arguments is. A step:
``recording`` keeps the operations, ``cutting`` finds where the network ends, ``parts`` what each of its outputs is (``plain``
puts learned priors and several draws aside), ``exponents`` how its weights move with its sizes; ``step`` makes the same problem
of it, and ``misreadings`` doubts the answer. Files and folders: ``scan`` finds losses by ``patterns``, and
``survey`` has each a line.
"""

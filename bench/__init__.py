"""The benchmark: chainrule beside what people would otherwise use, in one run and one table. ``python3 lab.py bench``.

It lives outside the package, which never asks for the time. Here alone times are measured, compared and asserted about.
"""
